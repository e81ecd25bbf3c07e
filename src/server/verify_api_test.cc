// What `walbrook verify` asks of the process that runs the pipeline.

#include "server/api.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace walbrook {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

class FakePipeline final : public verify::Cutter {
 public:
    Status hold_for_cut(milliseconds at_most) override {
        asked = "hold " + std::to_string(at_most.count());
        return error ? Status(*error) : Status();
    }
    Result<Lsn> cut(Lsn at, milliseconds at_most) override {
        asked = "cut " + to_string(at) + " " + std::to_string(at_most.count());
        if (error) return *error;
        return Lsn{at.value + 8};
    }
    Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                              const std::vector<RowRepair>& rows, milliseconds) override {
        asked = "repair " + to_string(at) + " " + snapshot;
        repairs = rows;
        if (error) return *error;
        return RowRepairs{at, {{TableId{5}, "it is \"locked\""}}};
    }
    Status resync(const std::vector<std::string>&) override { return {}; }
    Result<std::map<TableId, verify::TableCopies>> copies() override {
        return std::map<TableId, verify::TableCopies>();
    }
    Status keep_readable(Lsn position, milliseconds how_long) override {
        asked = "keep " + to_string(position) + " " + std::to_string(how_long.count());
        return error ? Status(*error) : Status();
    }

    std::string asked;
    std::vector<RowRepair> repairs;
    std::optional<Error> error;
};

class VerifyApi : public ::testing::Test {
 protected:
    ApiAnswer ask(const std::string& what, const std::string& body) {
        return answer_command("/api/v1/verify/" + what, body,
                              {[](TableCommand, const std::vector<std::string>& tables) {
                                   return Result<std::vector<std::string>>(tables);
                               },
                               &pipeline_});
    }
    FakePipeline pipeline_;
};

TEST_F(VerifyApi, AsksThePipeline) {
    EXPECT_EQ(ask("hold", R"({"for_ms": 10000})").status, 200);
    EXPECT_EQ(pipeline_.asked, "hold 10000");
    const ApiAnswer cut = ask("cut", R"({"for_ms": 5, "position": "1/10"})");
    EXPECT_EQ(cut.status, 200);
    EXPECT_EQ(pipeline_.asked, "cut 1/10 5");
    EXPECT_EQ(json::parse(cut.body), json({{"position", "1/18"}}));
    EXPECT_EQ(ask("keep", R"({"for_ms": 7, "position": "1/10"})").status, 200);
    EXPECT_EQ(pipeline_.asked, "keep 1/10 7");
}

TEST_F(VerifyApi, HandsOnTheKeysOfRowsToBePutRight) {
    const ApiAnswer done = ask("repair", R"({"for_ms": 5, "position": "1/10", "snapshot": "3-1",
        "tables": [{"oid": 16384, "keys": [["1", "a'b"], ["2", ""]]}, {"oid": 5, "keys": []}]})");
    EXPECT_EQ(done.status, 200) << done.body;
    EXPECT_EQ(pipeline_.asked, "repair 1/10 3-1");
    ASSERT_EQ(pipeline_.repairs.size(), 2U);
    EXPECT_EQ(pipeline_.repairs[0].table.oid, 16384U);
    const std::vector<std::vector<std::string>> keys = {{"1", "a'b"}, {"2", ""}};
    EXPECT_EQ(pipeline_.repairs[0].keys, keys);
    EXPECT_EQ(json::parse(done.body)["refused"],
              json::parse(R"([{"oid": 5, "reason": "it is \"locked\""}])"));
}

TEST_F(VerifyApi, RefusesWhatItDoesNotUnderstand) {
    const std::string snapshot =
        R"({"for_ms": 5, "position": "1/10", "snapshot": "3-1", "tables": )";
    const std::pair<std::string, std::string> bodies[] = {
        {"hold", ""},
        {"hold", "[]"},
        {"hold", R"({"for_ms": -1})"},
        {"hold", R"({"for_ms": 3600001})"},
        {"hold", R"({"for_ms": 1e30})"},
        {"hold", R"({"for_ms": "1"})"},
        {"cut", R"({"for_ms": 1})"},
        {"cut", R"({"for_ms": 1, "position": 7})"},
        {"keep", R"({"for_ms": 1, "position": "1-7"})"},
        {"repair", R"({"for_ms": 1, "position": "1/7"})"},
        {"repair", R"({"for_ms": 1, "position": "1/7", "snapshot": 7, "tables": []})"},
        {"repair", snapshot + "{}}"},
        {"repair", snapshot + "[7]}"},
        {"repair", snapshot + R"([{"oid": -1, "keys": []}]})"},
        {"repair", snapshot + R"([{"oid": 1}]})"},
        {"repair", snapshot + R"([{"oid": 1, "keys": [7]}]})"},
        {"repair", snapshot + R"([{"oid": 1, "keys": [[7]]}]})"},
    };
    for (const auto& [what, body] : bodies) {
        EXPECT_EQ(ask(what, body).status, 400) << what << " " << body;
    }
    EXPECT_EQ(pipeline_.asked, "");
    EXPECT_EQ(ask("other", R"({"for_ms": 1})").status, 404);
}

TEST_F(VerifyApi, TellsApartWhatMayBeTriedAgain) {
    pipeline_.error = Error(ErrorCode::aborted, "passed already");
    const ApiAnswer passed = ask("cut", R"({"for_ms": 5, "position": "1/10"})");
    EXPECT_EQ(passed.status, 409);
    EXPECT_EQ(problem_in(passed.body), "passed already");
    pipeline_.error = Error(ErrorCode::unavailable, "stops");
    EXPECT_EQ(ask("hold", R"({"for_ms": 5})").status, 503);
}

}  // namespace
}  // namespace walbrook
