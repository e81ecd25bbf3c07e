#include "destinations/ducklake/ducklake_fixture.h"

#include <cstring>
#include <limits>
#include <sys/wait.h>
#include <thread>

namespace walbrook::testing {
namespace {

class DuckLakeCopy : public LakeTest {};

// A column of each kind, alone and as a list, with its extremes.
class KindRows {
 public:
    KindRows() {
        auto schema = std::make_shared<TableSchema>();
        schema->id = {16384};
        schema->schema = "public";
        schema->name = "kinds";
        const auto add = [&](ColumnType type) {
            for (const bool is_list : {false, true}) {
                ColumnSchema column;
                type.is_list = is_list;
                column.type = type;
                column.attnum = static_cast<std::int16_t>(schema->columns.size() + 1);
                column.name = "c" + std::to_string(column.attnum);
                schema->columns.push_back(column);
            }
        };
        for (const TypeKind kind :
             {TypeKind::boolean, TypeKind::int16, TypeKind::int32, TypeKind::int64,
              TypeKind::uint32, TypeKind::float32, TypeKind::float64, TypeKind::text,
              TypeKind::bytes, TypeKind::date, TypeKind::time, TypeKind::timestamp,
              TypeKind::timestamptz, TypeKind::uuid, TypeKind::json}) {
            add({kind});
        }
        for (const std::uint8_t precision : std::initializer_list<std::uint8_t>{4, 9, 18, 38}) {
            add({TypeKind::decimal, false, precision, 2});
        }
        schema_ = schema;
    }

    const TableSchemaPtr& schema() const { return schema_; }

    // Row r of every column is the r-th extreme of its kind; lists hold the first r.
    void append_rows(RowBatch& batch) const {
        for (std::size_t row = 0; row < 4; ++row) {
            for (Column& column : batch.columns()) {
                if (!column.type().is_list) {
                    append_extreme(column, row);
                    continue;
                }
                if (row == 3) {
                    column.append_null();
                    continue;
                }
                for (std::size_t i = 0; i <= row + 1; ++i)
                    append_extreme(column.element(), 3 - i % 4);
                if (row == 0) column.element().append_null();
                column.append_list_end();
            }
        }
    }

 private:
    template <class T>
    static void append_one_of(Column& column, std::size_t row, T first, T second, T third) {
        if (row == 3) return column.append_null();
        column.append_fixed(row == 0 ? first : row == 1 ? second : third);
    }
    // The largest number of so many digits.
    static void append_nines(Column& column, std::size_t row) {
        if (row == 3) return column.append_null();
        __extension__ using Wide = __int128;
        Wide wide = 0;
        for (int i = 0; i < column.type().precision; ++i) wide = wide * 10 + 9;
        wide = row == 0 ? wide : row == 1 ? -wide : 0;
        column.append_fixed_bytes(&wide, 16);
    }
    static void append_extreme(Column& column, std::size_t row) {
        using std::numeric_limits;
        constexpr auto kDay = std::int64_t{86'400'000'000};
        constexpr auto kLast = numeric_limits<std::int64_t>::max();
        switch (column.type().kind) {
            case TypeKind::boolean:
                return row == 3 ? column.append_null() : column.append_bool(row == 1);
            case TypeKind::int16:
                return append_one_of<std::int16_t>(column, row, -32768, 32767, 0);
            case TypeKind::int32:
                return append_one_of<std::int32_t>(column, row, INT32_MIN, INT32_MAX, 0);
            case TypeKind::int64:
                return append_one_of<std::int64_t>(column, row, INT64_MIN, kLast, 0);
            case TypeKind::uint32:
                return append_one_of<std::uint32_t>(column, row, 0, UINT32_MAX, 7);
            case TypeKind::float32:
                return append_one_of<float>(column, row, -0.0F, numeric_limits<float>::quiet_NaN(),
                                            numeric_limits<float>::infinity());
            case TypeKind::float64:
                return append_one_of<double>(column, row, -0.0, numeric_limits<double>::quiet_NaN(),
                                             -numeric_limits<double>::infinity());
            case TypeKind::date:
                return append_one_of<std::int32_t>(column, row, INT32_MAX, -INT32_MAX, -2440588);
            case TypeKind::time:
                return append_one_of<std::int64_t>(column, row, 0, kDay, 1);
            case TypeKind::timestamp:
            case TypeKind::timestamptz:
                return append_one_of<std::int64_t>(column, row, kLast, -kLast, -2440588 * kDay + 1);
            case TypeKind::decimal:
                return append_nines(column, row);
            case TypeKind::uuid:
                if (row == 3) return column.append_null();
                return column.append_fixed_bytes(row == 0   ? "\xF0\x01\x02\x03\x04\x05\x06\x07"
                                                              "\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F"
                                                 : row == 1 ? "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                                            : "0123456789abcdef",
                                                 16);
            case TypeKind::text:
            case TypeKind::json:
            case TypeKind::bytes:
            case TypeKind::list:
                break;
        }
        if (row == 3) return column.append_null();
        if (column.type().kind == TypeKind::json) {
            return column.append_bytes(row == 0   ? R"({"a": 1, "a":2})"
                                       : row == 1 ? "null"
                                                  : "[ 1 ]");
        }
        if (column.type().kind == TypeKind::bytes && row == 1) {
            return column.append_bytes(std::string_view("\0\xFF\x80", 3));
        }
        column.append_bytes(row == 0   ? ""
                            : row == 1 ? "exactly12byt"
                                       : "thirteen bytes and an \xC3\xA9");
    }

    TableSchemaPtr schema_;
};

TEST_F(DuckLakeCopy, EveryKindArrivesExactly) {
    open();
    const KindRows kinds;
    const CopyTargetPtr target = begin(kinds.schema());
    MadeRows reader(kinds.schema(), [&, is_done = false](RowBatch& batch) mutable -> Result<bool> {
        if (std::exchange(is_done, true)) return false;
        kinds.append_rows(batch);
        return true;
    });
    expect_ok(lake_->write_copy({target, 0}, reader, {}));
    expect_ok(lake_->finish_copy(target, {}));
    // The same rows a second time by way of a flush.
    ChangeBatch batch(kinds.schema());
    batch.copy = target;
    kinds.append_rows(batch.new_rows);
    for (std::int32_t row = 0; row < 4; ++row) {
        Change change;
        change.new_row = row;
        change.ordinal = static_cast<std::uint64_t>(row) + 1;
        batch.changes.push_back(change);
    }
    expect_ok(apply(100, list_of(std::move(batch), Publish{target})));
    const auto values = [&](const std::string& columns) {
        return rows("SELECT DISTINCT " + columns + " FROM public.kinds");
    };
    EXPECT_EQ(rows("SELECT count(*) FROM public.kinds"), "8");
    EXPECT_EQ(values("c1, c2"),
              "false|[NULL, false, NULL]; false|[NULL, false, true, false]; "
              "true|[NULL, false, true]; NULL|NULL");
    EXPECT_EQ(values("c3"), "-32768; 0; 32767; NULL");
    EXPECT_EQ(values("c5"), "-2147483648; 0; 2147483647; NULL");
    EXPECT_EQ(
        values("c7, c8"),
        "-9223372036854775808|[NULL, 0, NULL]; 0|[NULL, 0, 9223372036854775807, "
        "-9223372036854775808]; 9223372036854775807|[NULL, 0, 9223372036854775807]; NULL|NULL");
    EXPECT_EQ(values("c9"), "0; 4294967295; 7; NULL");
    EXPECT_EQ(values("c11, c12"),
              "-0.0|[NULL, inf, NULL]; inf|[NULL, inf, nan, -0.0]; "
              "nan|[NULL, inf, nan]; NULL|NULL");
    EXPECT_EQ(values("c13, c14"),
              "-0.0|[NULL, -inf, NULL]; -inf|[NULL, -inf, nan, -0.0]; "
              "nan|[NULL, -inf, nan]; NULL|NULL");
    EXPECT_EQ(values("c15, c16[3]"),
              "|NULL; exactly12byt|exactly12byt; thirteen bytes and an é|exactly12byt; NULL|NULL");
    EXPECT_EQ(values("c17"), "; \\x00\\xFF\\x80; thirteen bytes and an \\xC3\\xA9; NULL");
    EXPECT_EQ(values("c19, c20"),
              "-infinity|[NULL, '4714-11-24 (BC)', -infinity]; 4714-11-24 (BC)|[NULL, "
              "'4714-11-24 (BC)', -infinity, infinity]; infinity|[NULL, '4714-11-24 (BC)', NULL]; "
              "NULL|NULL");
    EXPECT_EQ(values("c21"), "00:00:00; 00:00:00.000001; 24:00:00; NULL");
    EXPECT_EQ(values("c23"), "-infinity; 4714-11-24 (BC) 00:00:00.000001; infinity; NULL");
    EXPECT_EQ(values("c25"), "-infinity; 4714-11-24 (BC) 00:00:00.000001+00; infinity; NULL");
    EXPECT_EQ(values("c27, c28[4]"),
              "00000000-0000-0000-0000-000000000000|NULL; "
              "30313233-3435-3637-3839-616263646566|f0010203-0405-0607-0809-0a0b0c0d0e0f; "
              "f0010203-0405-0607-0809-0a0b0c0d0e0f|NULL; NULL|NULL");
    EXPECT_EQ(values("c29, c30"),
              "[ 1 ]|[NULL, [ 1 ], null, {\"a\": 1, \"a\":2}]; null|[NULL, [ 1 ], null]; "
              "{\"a\": 1, \"a\":2}|[NULL, [ 1 ], NULL]; NULL|NULL");
    EXPECT_EQ(values("c31"), "-99.99; 0.00; 99.99; NULL");
    EXPECT_EQ(values("c33"), "-9999999.99; 0.00; 9999999.99; NULL");
    EXPECT_EQ(values("c35"), "-9999999999999999.99; 0.00; 9999999999999999.99; NULL");
    EXPECT_EQ(values("c37, c38[2]"),
              "-999999999999999999999999999999999999.99|0.00; 0.00|0.00; "
              "999999999999999999999999999999999999.99|0.00; NULL|NULL");
}

// The same in small flushes, whose files the upkeep then writes again as one.
TEST_F(DuckLakeCopy, EveryKindArrivesExactlyInFlushes) {
    open();
    const KindRows kinds;
    const TableSchemaPtr schema = kinds.schema();
    RowBatch all(schema);
    kinds.append_rows(all);
    const CopyTargetPtr target = begin(schema);
    expect_ok(lake_->finish_copy(target, {}));
    expect_ok(apply(100, list_of(Publish{target})));
    for (std::size_t flush = 0; flush < 16; ++flush) {
        ChangeBatch batch(schema);
        for (std::size_t i = 0; i < schema->columns.size(); ++i) {
            batch.new_rows.columns()[i].append_from(all.columns()[i], flush % 4);
        }
        Change change;
        change.new_row = 0;
        change.ordinal = 1;
        batch.changes.push_back(change);
        expect_ok(apply(101 + flush, list_of(std::move(batch))));
    }

    auto copied = std::make_shared<TableSchema>(*schema);
    copied->id = {20000};
    copied->name = "copied";
    const CopyTargetPtr file = begin(copied);
    MadeRows reader(copied, [&, is_done = false](RowBatch& rows) mutable -> Result<bool> {
        if (std::exchange(is_done, true)) return false;
        kinds.append_rows(rows);
        return true;
    });
    expect_ok(lake_->write_copy({file, 0}, reader, {}));
    expect_ok(lake_->finish_copy(file, {}));
    expect_ok(apply(200, list_of(Publish{file})));
    for (const char* files : {"16", "1"}) {
        EXPECT_EQ(rows("SELECT file_count FROM ducklake_table_info('lake') WHERE table_name = "
                       "'kinds'"),
                  files);
        // As text, so that zero and minus zero are told apart.
        const std::string text = "SELECT COLUMNS(*)::VARCHAR FROM ";
        EXPECT_EQ(rows("SELECT count(*) FROM (" + text + "public.kinds INTERSECT " + text +
                       "public.copied)"),
                  "4");
        EXPECT_EQ(rows("SELECT count(*) FROM public.kinds"), "16");
        expect_ok(lake_->maintain({}));
    }
}

TEST_F(DuckLakeCopy, SeveralThreadsWriteUnits) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr target = begin(schema);
    std::vector<std::thread> threads;
    for (std::uint32_t unit = 0; unit < 4; ++unit) {
        threads.emplace_back([&, unit] {
            std::vector<Row> mine;
            for (int i = 0; i < 3000; ++i) {
                mine.push_back({std::to_string(unit * 10000 + static_cast<unsigned>(i)), "n", "x"});
            }
            MadeRows reader = rows_of(schema, mine);
            expect_ok(lake_->write_copy({target, unit}, reader, {}));
        });
    }
    for (std::thread& thread : threads) thread.join();
    MadeRows nothing = rows_of(schema, {});
    expect_ok(lake_->write_copy({target, 9}, nothing, {}));
    EXPECT_EQ(files(), 4U);
    expect_ok(lake_->finish_copy(target, {}));
    expect_ok(apply(100, list_of(Publish{target})));
    EXPECT_EQ(rows("SELECT count(*), count(DISTINCT id), sum(id) FROM public.t"),
              "12000|12000|197994000");
}

TEST_F(DuckLakeCopy, AnErrorOfTheReaderComesBackAsItIs) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr target = begin(schema);
    MadeRows broken(schema, [n = 0](RowBatch& batch) mutable -> Result<bool> {
        if (n++ == 3) {
            return Error(ErrorCode::unsupported_value, "no such date").with_table(16384);
        }
        for (int i = 0; i < 5000; ++i) append_row(batch, {std::to_string(i), "a", "b"});
        return true;
    });
    const Status status = lake_->write_copy({target, 0}, broken, {});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::unsupported_value);
    EXPECT_EQ(status.error().table_oid(), 16384U);
    EXPECT_EQ(status.error().message(), "no such date");
    EXPECT_EQ(files(), 0U);
    MadeRows again = rows_of(schema, {{"1", "a", "b"}});
    expect_ok(lake_->write_copy({target, 0}, again, {}));
    expect_ok(lake_->finish_copy(target, {}));
    expect_ok(apply(100, list_of(Publish{target})));
    EXPECT_EQ(table("public.t"), "1|a|b");
}

TEST_F(DuckLakeCopy, StopsSoon) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr target = begin(schema);
    std::stop_source stop;
    MadeRows endless(schema, [&, n = 0](RowBatch& batch) mutable -> Result<bool> {
        if (n++ == 5) stop.request_stop();
        append_row(batch, {"1", "a", "b"});
        return true;
    });
    const Status status = lake_->write_copy({target, 0}, endless, stop.get_token());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::cancelled);
    EXPECT_EQ(files(), 0U);
}

TEST_F(DuckLakeCopy, AnEarlierAttemptCannotLand) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr first = begin(schema, 1);
    MadeRows one = rows_of(schema, {{"1", "old", "x"}});
    expect_ok(lake_->write_copy({first, 0}, one, {}));
    const CopyTargetPtr second = begin(schema, 2);
    MadeRows late = rows_of(schema, {{"2", "old", "x"}});
    EXPECT_FALSE(lake_->write_copy({first, 1}, late, {}));
    MadeRows fresh = rows_of(schema, {{"1", "new", "x"}});
    expect_ok(lake_->write_copy({second, 0}, fresh, {}));
    EXPECT_FALSE(lake_->finish_copy(first, {}));
    expect_ok(lake_->finish_copy(second, {}));
    EXPECT_FALSE(apply(100, list_of(Publish{first})));
    expect_ok(apply(100, list_of(Publish{second})));
    EXPECT_EQ(table("public.t"), "1|new|x");
    EXPECT_EQ(files(), 1U);
}

// Nobody would bring the rows again that the table before has.
TEST_F(DuckLakeCopy, WithoutRowsTakesNoTablesPlace) {
    open();
    TableMaker maker;
    const TableSchemaPtr schema = maker.make();
    std::uint32_t attempt = 1;
    const auto publish = [&](const TableSchemaPtr& of) {
        auto copy = std::make_shared<CopyTarget>(CopyTarget{of, ++attempt, {}, false});
        expect_ok(lake_->begin_copy(copy, {}));
        expect_ok(lake_->finish_copy(copy, {}));
        Status status = apply(100 + attempt, list_of(Publish{copy}));
        if (!status) expect_ok(lake_->discard_copy(copy, {}));
        return status;
    };
    const auto is_refused = [&](const TableSchemaPtr& of) {
        const Status status = publish(of);
        return !status && status.error().code() == ErrorCode::unsupported_value &&
               status.error().table_oid() == of->id.oid;
    };
    given(schema, {{"1", "a", "x"}});
    EXPECT_TRUE(is_refused(schema));
    expect_ok(apply(200, list_of(Retire{schema->id})));
    EXPECT_TRUE(is_refused(schema));
    maker.oid = 20000;
    EXPECT_TRUE(is_refused(maker.make()));
    EXPECT_EQ(table("public.t"), "1|a|x");
    maker.name = "other";
    expect_ok(publish(maker.make()));
    EXPECT_EQ(table("public.other"), "");
}

TEST_F(DuckLakeCopy, DiscardsBeforeAndAfterFinishing) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr first = begin(schema, 1);
    MadeRows one = rows_of(schema, {{"1", "a", "x"}});
    expect_ok(lake_->write_copy({first, 0}, one, {}));
    expect_ok(lake_->discard_copy(first, {}));
    EXPECT_EQ(files(), 0U);
    const CopyTargetPtr second = copy(schema, {{"1", "a", "x"}}, 2);
    expect_ok(lake_->discard_copy(second, {}));
    EXPECT_EQ(rows("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'public' AND "
                   "database_name = 'lake'"),
              "0");
    given(schema, {{"2", "b", "y"}});
    EXPECT_EQ(table("public.t"), "2|b|y");
}

TEST_F(DuckLakeCopy, WhatACrashLeftIsSwept) {
    const TableSchemaPtr schema = TableMaker{}.make();
    open();
    given(schema, {{"1", "a", "x"}});
    close();
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        open();
        const CopyTargetPtr shadow = copy(schema, {{"1", "b", "y"}}, 2);
        TableMaker other;
        other.oid = 20000;
        other.name = "o";
        const CopyTargetPtr unfinished = begin(other.make());
        MadeRows reader = rows_of(other.make(), {{"1", "b", "y"}});
        lake_->write_copy({unfinished, 0}, reader, {}).ignore();
        kill(getpid(), SIGKILL);
    }
    int how = 0;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how));
    EXPECT_EQ(files(), 3U);
    open();
    // The shadow's file stays: older snapshots have it.
    EXPECT_EQ(files(), 2U);
    EXPECT_EQ(rows("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' AND "
                   "schema_name = 'public'"),
              "t");
    EXPECT_EQ(table("public.t"), "1|a|x");
    expect_ok(apply(200, list_of(Publish{copy(schema, {{"1", "c", "z"}}, 2)})));
    EXPECT_EQ(table("public.t"), "1|c|z");
}

TEST_F(DuckLakeCopy, DuckLakesOwnColumnNames) {
    open();
    TableMaker maker;
    maker.columns = {{"row_id", TypeKind::int64},
                     {"begin_snapshot", TypeKind::text},
                     {"rowid", TypeKind::text},
                     {"filename", TypeKind::text}};
    const TableSchemaPtr schema = maker.make();
    given(schema, {{"1", "a", "x", "p"}, {"2", "b", "y", "q"}});
    ChangeBatch batch(schema);
    add_update(batch, {"1", "a2", "\x01", "p"});
    Truncate truncate;
    truncate.tables = {schema};
    expect_ok(apply(200, list_of(std::move(batch), inserts(schema, {{"3", "c", "z", "r"}}))));
    EXPECT_EQ(rows("SELECT row_id, begin_snapshot, filename FROM public.t"),
              "1|a2|p; 2|b|q; 3|c|r");
    expect_ok(apply(300, list_of(truncate, inserts(schema, {{"4", "d", "w", "s"}}))));
    EXPECT_EQ(rows("SELECT row_id, begin_snapshot, filename FROM public.t"), "4|d|s");
}

TEST_F(DuckLakeCopy, RefusesWhatDuckDbCannotTellApart) {
    lake_ = make_ducklake_destination(config());
    TableMaker upper;
    upper.name = "Foo";
    TableMaker lower;
    lower.oid = 2;
    lower.name = "foo";
    lower.columns = {{"ID", TypeKind::int64},
                     {"id", TypeKind::text},
                     {"_ducklake_internal_row_id", TypeKind::text}};
    TableMaker ours;
    ours.oid = 3;
    ours.schema = "_walbrook";
    EXPECT_EQ(lake_->refusals({upper.make()}).size(), 0U);
    const auto refusals = lake_->refusals({upper.make(), lower.make(), ours.make()});
    EXPECT_EQ(refusals.size(), 4U) << ::testing::PrintToString(refusals);
    lake_.reset();
}

TEST_F(DuckLakeCopy, HostileNames) {
    open();
    TableMaker maker;
    maker.schema = "we'ird \"schema\"/../x";
    maker.name = "select \"*\" from 'x'; -- é";
    maker.columns = {
        {"a \"b\"'c", TypeKind::int64}, {"select", TypeKind::text}, {"", TypeKind::text}};
    maker.columns[2].first = "file_row_number";
    const TableSchemaPtr schema = maker.make();
    given(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeBatch batch(schema);
    add_update(batch, {"1", "a2", "\x01"});
    add_delete(batch, {"2", std::nullopt, std::nullopt});
    expect_ok(apply(200, list_of(std::move(batch), inserts(schema, {{"3", "c", "z"}}))));
    EXPECT_EQ(table(duckdb_engine::quote_identifier(maker.schema) + "." +
                    duckdb_engine::quote_identifier(maker.name)),
              "1|a2|x; 3|c|z");
    EXPECT_EQ(reopen().tables.size(), 1U);
}

}  // namespace
}  // namespace walbrook::testing
