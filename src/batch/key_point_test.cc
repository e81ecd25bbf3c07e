#include "batch/key_point.h"

#include "decode/type_table.h"

#include <gtest/gtest.h>

#include <vector>

namespace walbrook {
namespace {

ColumnSchema column_of(std::uint32_t type_oid) {
    ColumnSchema column;
    column.name = "k";
    column.type_oid = column.base_type_oid = type_oid;
    EXPECT_TRUE(resolve_type(column));
    return column;
}

TEST(KeyPoint, ComparesAsPostgresOrders) {
    const std::vector<std::pair<std::uint32_t, std::vector<std::string>>> ordered = {
        {21, {"-32768", "-256", "-1", "0", "1", "255", "256", "32767"}},
        {23, {"-2147483648", "-65536", "-1", "0", "1", "65536", "2147483647"}},
        {20, {"-9223372036854775808", "-4294967296", "-1", "0", "1", "9223372036854775807"}},
        {2950,
         {"00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-0000000000ff",
          "00000000-0000-0000-0100-000000000000", "7fffffff-ffff-ffff-ffff-ffffffffffff",
          "80000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}}};
    for (const auto& [oid, values] : ordered) {
        const ColumnSchema column = column_of(oid);
        ASSERT_TRUE(has_key_points(column));
        for (std::size_t i = 1; i < values.size(); ++i) {
            const auto less = parse_key_point(column, values[i - 1]);
            const auto more = parse_key_point(column, values[i]);
            ASSERT_TRUE(less && more);
            EXPECT_LT(*less, *more) << values[i];
        }
    }
}

TEST(KeyPoint, OtherTypesHaveNone) {
    for (const std::uint32_t oid : {25U, 1043U, 1700U, 701U, 1007U, 26U}) {
        EXPECT_FALSE(has_key_points(column_of(oid))) << oid;
    }
}

}  // namespace
}  // namespace walbrook
