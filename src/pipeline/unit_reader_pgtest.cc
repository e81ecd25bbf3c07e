// What happens to a table between two looks of a UnitReader, without a lock that would keep it out.

#include "decode/type_table.h"
#include "postgres/catalog.h"
#include "source/unit_reader.h"
#include "support/pg_test.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

using std::chrono::seconds;
using testing::PgTest;

class ReadUnit : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, ReadUnit, ::testing::ValuesIn(testing::pg_versions()),
                         testing::version_name);

// As blue and green deployments do it: COPY names the table that has the name by then.
TEST_P(ReadUnit, NoticesThatAnotherTableHasTheNameNow) {
    database().exec(
        "create schema live; create table live.item(id int primary key, note text);"
        "insert into live.item values (1, 'live'); create schema next;"
        "create table next.item(id int primary key, note text);"
        "insert into next.item values (1, 'next')");
    Connection connection = database().session();
    const Deadline deadline = within(seconds(60));
    const TableId table{database().oid("live.item")};
    auto schema = read_table_schema(connection, deadline, {.id = table, .attnums = {}});
    const auto shape = read_shape(connection, deadline, table);
    ASSERT_TRUE(schema && shape);
    for (ColumnSchema& column : schema->columns) ASSERT_TRUE(resolve_type(column));
    KeyCursor keys;
    keys.attnum = 1;
    UnitReaderOptions options;
    options.schema = std::make_shared<const TableSchema>(*schema);
    options.shape = *shape;
    options.keys = &keys;
    options.unit_bytes = 1 << 20;
    options.on_batch = [](std::size_t) { return Status(); };
    options.after_key_range = [](const KeyRange&) { return Status(); };
    options.check_range = [&](Connection&, const Deadline&) {
        database().exec("alter schema live rename to old; alter schema next rename to live");
        return Status();
    };
    CopyUnitRange range;
    range.table = {table, "live", "item", shape->physical.front().second};
    UnitReader reader(connection, range, options, {});
    Status status;
    while (status) {
        const Result<const RowBatch*> batch = reader.next();
        if (!batch) status = batch.error();
        if (batch && *batch == nullptr) break;
    }
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::aborted) << status.error().message();
}

}  // namespace
}  // namespace walbrook
