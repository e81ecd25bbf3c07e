#include "batch/row_append.h"

#include "walbrook/testing/rows.h"

#include <gtest/gtest.h>

#include <span>
#include <string>

namespace walbrook {
namespace {

using testing::TableMaker;

void put_u32(std::string& out, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

// An update's new row: "~" was not sent, "" is null.
std::string update_of(const std::vector<std::string>& values) {
    std::string frame = "U";
    put_u32(frame, 1);
    frame += 'N';
    frame.push_back(0);
    frame.push_back(static_cast<char>(values.size()));
    for (const std::string& value : values) {
        frame += value == "~" ? 'u' : value.empty() ? 'n' : 't';
        if (value == "~" || value.empty()) continue;
        put_u32(frame, static_cast<std::uint32_t>(value.size()));
        frame += value;
    }
    return frame;
}

// The row that comes next takes the place of one that was refused: not its marks.
TEST(AppendTuple, ARefusedRowLeavesNothingUnchanged) {
    const auto made = TableMaker(1, "t").key("id").column("big").column("v").make();
    auto schema = std::make_shared<TableSchema>(*made);
    schema->columns[2].nullable = false;
    const RowDecoders decoders(*schema);
    ChangeBatch batch{TableSchemaPtr(schema)};
    const auto append = [&](const std::vector<std::string>& values) {
        const std::string frame = update_of(values);
        const auto message = parse_pgoutput(std::as_bytes(std::span(frame)), false);
        EXPECT_TRUE(message);
        return append_tuple(std::get<UpdateMessage>(*message).new_row, decoders, false,
                            batch.new_rows, &batch);
    };
    EXPECT_TRUE(append({"1", "~", "v"}));
    EXPECT_FALSE(append({"2", "~", ""}));
    EXPECT_TRUE(append({"3", "sent", "v"}));
    EXPECT_EQ(batch.new_rows.rows(), 2U);
    EXPECT_TRUE(batch.is_unchanged(1, 0));
    EXPECT_FALSE(batch.is_unchanged(1, 1));
}

}  // namespace
}  // namespace walbrook
