// What needs neither a server nor a lake: rows against rows, the report, what is remembered.

#include "verify/compare.h"
#include "verify/history.h"
#include "verify/progress.h"
#include "verify/report.h"
#include "verify/row_pace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

namespace walbrook::verify {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ComparedTable table_with_key() {
    ComparedTable table;
    table.id = TableId{16384};
    table.schema = "public";
    table.name = "item";
    for (const char* name : {"id", "note"}) {
        ColumnSchema column;
        column.name = name;
        table.columns.push_back(column);
    }
    table.lake_columns = {"id", "note"};
    table.key = {0};
    return table;
}

// A row (id, note), as it stands for any digests.
RowPrint print_of(const std::string& id, const std::string& note) {
    const auto digits = [](const std::string& text) { return (text + "________").substr(0, 8); };
    return {"key " + id, "row " + id + note, digits(id) + digits(note), {id}};
}

std::vector<std::string> found(const std::vector<RowPrint>& source,
                               const std::vector<RowPrint>& destination) {
    std::vector<std::string> all;
    for (const Difference& one : compare_rows(table_with_key(), source, destination)) {
        std::string text(name_of(one.kind));
        text += " " + one.key.front() + " " + std::to_string(one.at_source) + ":" +
                std::to_string(one.in_destination);
        for (const std::string& column : one.columns) text += " " + column;
        all.push_back(text);
    }
    return all;
}

TEST(CompareRows, TellsWhatBecameOfEachKey) {
    const RowPrint a = print_of("1", "a");
    const RowPrint b = print_of("2", "b");
    EXPECT_THAT(found({a, b}, {b, a}), IsEmpty());
    EXPECT_THAT(found({a, b}, {b}), ElementsAre("missing 1 1:0"));
    EXPECT_THAT(found({a}, {b, a}), ElementsAre("extra 2 0:1"));
    EXPECT_THAT(found({a}, {print_of("1", "A")}), ElementsAre("changed 1 1:1 note"));
    // Twice, in the same form and in another one.
    EXPECT_THAT(found({a}, {a, a}), ElementsAre("extra 1 1:2"));
    EXPECT_THAT(found({a}, {a, print_of("1", "A")}), ElementsAre("extra 1 1:2"));
    EXPECT_THAT(found({a, a}, {a, print_of("1", "A")}), ElementsAre("changed 1 2:2 note"));
    EXPECT_THAT(found({a, a}, {a, a}), IsEmpty());
}

TEST(CompareRows, WithoutAKeyRowsAreCounted) {
    ComparedTable table = table_with_key();
    table.key.clear();
    RowPrint one{"digest", "digest", "________________", {"(0,1)"}};
    EXPECT_THAT(compare_rows(table, {one, one}, {one, one}), IsEmpty());
    const std::vector<Difference> differences = compare_rows(table, {one, one, one}, {one});
    ASSERT_EQ(differences.size(), 1U);
    EXPECT_EQ(differences[0].kind, DifferenceKind::missing);
    EXPECT_EQ(differences[0].at_source, 3U);
    EXPECT_EQ(differences[0].row_digest, "digest");
    EXPECT_THAT(differences[0].key, ElementsAre("(0,1)"));
    // Many that are the same are one print, or some.
    RowPrint many = one;
    many.count = 1'000'000;
    RowPrint all = one;
    all.count = 1'000'001;
    EXPECT_THAT(compare_rows(table, {many, one}, {all}), IsEmpty());
    const std::vector<Difference> more = compare_rows(table, {many}, {one, all});
    ASSERT_EQ(more.size(), 1U);
    EXPECT_EQ(more[0].kind, DifferenceKind::extra);
    EXPECT_EQ(more[0].at_source, 1'000'000U);
    EXPECT_EQ(more[0].in_destination, 1'000'002U);
}

TEST(Groups, DifferByNumberOrSum) {
    const Digest source = {{1, 7}, {2, 8}, {0, 0}, {3, 3}};
    EXPECT_THAT(differing_groups(source, source), IsEmpty());
    EXPECT_THAT(differing_groups(source, {{1, 7}, {2, 9}, {1, 0}, {3, 3}}), ElementsAre(1U, 2U));
}

TEST(Groups, AreReadInPortionsThatFitIntoMemory) {
    const Digest source = {{50, 0}, {50, 0}, {500, 0}, {1, 0}};
    const Digest lake = {{50, 1}, {49, 1}, {500, 1}, {1, 1}};
    const std::vector<unsigned> all = {0, 1, 2, 3};
    EXPECT_THAT(next_groups(all, 0, source, lake, 200), ElementsAre(0U, 1U));
    // One is read even if it is too large.
    EXPECT_THAT(next_groups(all, 2, source, lake, 200), ElementsAre(2U));
    EXPECT_THAT(next_groups(all, 3, source, lake, 200), ElementsAre(3U));
    EXPECT_THAT(next_groups(all, 0, source, lake, 10'000), ElementsAre(0U, 1U, 2U, 3U));
}

TEST(Numbers, AreModuloTwoToThe64) {
    EXPECT_EQ(number_modulo("0"), 0U);
    EXPECT_EQ(number_modulo("18446744073709551615"), ~0ULL);
    EXPECT_EQ(number_modulo("18446744073709551616"), 0U);
    EXPECT_EQ(number_modulo("36893488147419103235"), 3U);
}

TableResult different() {
    TableResult table;
    table.table = TableId{16384};
    table.schema = "public";
    table.name = "item";
    table.outcome = Outcome::different;
    table.position = Lsn{0x100};
    table.at_secs = 1'700'000'000;
    table.lake_id = "0199-abcd";
    table.rows_at_source = 10;
    table.rows_in_destination = 9;
    table.key = {"id", "na\"me"};
    Difference difference;
    difference.kind = DifferenceKind::missing;
    difference.at_source = 1;
    difference.key = {"5", "plain"};
    table.differences = {difference};
    table.differing_rows = 1;
    return table;
}

TableResult result_of(std::uint32_t oid, const std::string& name, Outcome outcome,
                      std::int64_t at_secs = 0) {
    TableResult table = different();
    table.at_secs = at_secs;
    table.table = TableId{oid};
    table.name = name;
    table.outcome = outcome;
    return table;
}

TEST(Report, ALineOfJsonComesBackAsItWas) {
    TableResult table = different();
    table.differences[0].key = {"line\nand \"quote\" \\ '; drop", std::string(5000, 'x') + "\t€"};
    Difference changed;
    changed.at_source = changed.in_destination = 1;
    changed.key = {"", " "};
    changed.columns = {"note", "a,b"};
    table.differences.push_back(changed);
    table.differing_rows = 2;
    table.reason = "it was not copied again: no table";
    const std::string line = to_json(table);
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
    const auto back = table_result_from_json(line);
    ASSERT_TRUE(back);
    EXPECT_EQ(to_json(*back), line);
    EXPECT_EQ(back->differences[0].key, table.differences[0].key);
    EXPECT_EQ(back->differences[1].columns, changed.columns);
    EXPECT_EQ(back->at_secs, table.at_secs);
    EXPECT_EQ(back->lake_id, table.lake_id);
    auto of_older = nlohmann::json::parse(line);
    of_older["format"] = 1;
    EXPECT_FALSE(table_result_from_json(of_older.dump()));
    for (std::size_t n = 0; n + 2 < line.size(); n += 7) {
        EXPECT_FALSE(table_result_from_json(line.substr(0, n))) << n;
    }
}

// What a key holds cannot look like another line, or another key, of the report.
TEST(Report, HostileKeysStayInTheirPlace) {
    TableResult table = different();
    const auto line_for = [&](const std::string& a, const std::string& b) {
        table.differences[0].key = {a, b};
        return to_text(table, table.differences[0]);
    };
    EXPECT_EQ(line_for("5", "plain"), "id=5, na\"me=plain is missing in the destination");
    EXPECT_EQ(line_for("-1.5", "it's\\é"), "id=-1.5, na\"me=it's\\é is missing in the destination");
    EXPECT_EQ(line_for("a\nb", "x, y"), R"(id="a\nb", na"me="x, y" is missing in the destination)");
    EXPECT_EQ(line_for("", " x"), R"(id="", na"me=" x" is missing in the destination)");
    EXPECT_EQ(line_for("\x1b[31m", "q\"q"),
              R"(id="\u001b[31m", na"me="q\"q" is missing in the destination)");
    const std::string cut = line_for(std::string(199, 'x') + "€€", "1");
    EXPECT_THAT(cut, HasSubstr("x\xEF\xBF\xBD… (205 bytes), na"));
}

TEST(Report, TextAndJsonNameSoManyDifferences) {
    TableResult table = different();
    for (int i = 0; i < 4; ++i) table.differences.push_back(table.differences.front());
    table.differing_rows = 7;
    const Report report{{table}};
    EXPECT_FALSE(report.is_equal());
    const std::string text = to_text(report, 2);
    EXPECT_THAT(text, HasSubstr("DIFFERENT     7 of 10 rows at 0/100 (9 in the destination)"));
    EXPECT_THAT(text, HasSubstr("… (--max-differences shows more)"));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
    table.reason = "it was not copied again: no table";
    EXPECT_THAT(to_text({{table}}, 2), HasSubstr("in the destination); it was not copied again"));
    const auto json = nlohmann::json::parse(to_json(report, 2));
    EXPECT_EQ(json["equal"], false);
    EXPECT_EQ(json["tables"][0]["differences"].size(), 2U);
    EXPECT_EQ(json["tables"][0]["differing_rows"], 7);
}

// Nobody may take "not looked at" for "the same".
TEST(Report, IsEqualOnlyWhereAllWasCompared) {
    const auto is_equal = [](const std::vector<Outcome>& outcomes) {
        Report report;
        for (const Outcome outcome : outcomes) {
            report.tables.push_back(different());
            report.tables.back().outcome = outcome;
        }
        const std::string text = to_json(report, 10);
        EXPECT_EQ(nlohmann::json::parse(text)["equal"], report.is_equal());
        return report.is_equal();
    };
    EXPECT_TRUE(is_equal({Outcome::equal, Outcome::equal}));
    EXPECT_FALSE(is_equal({Outcome::equal, Outcome::different}));
    EXPECT_FALSE(is_equal({Outcome::equal, Outcome::not_compared}));
    EXPECT_FALSE(is_equal({Outcome::not_compared}));
    EXPECT_FALSE(is_equal({}));
    Report unfinished{{result_of(1, "a", Outcome::equal)}};
    EXPECT_TRUE(unfinished.is_equal());
    unfinished.error = Error(ErrorCode::unavailable, "nobody answers");
    EXPECT_FALSE(unfinished.is_equal());
    EXPECT_THAT(to_text(unfinished, 10), HasSubstr("not to the end"));
    EXPECT_EQ(nlohmann::json::parse(to_json(unfinished, 10))["error"], "nobody answers");
    EXPECT_THAT(to_text(Report(), 10), HasSubstr("no table was compared"));
}

TEST(RowPace, NoMoreRowsThanAllowedInAnySecond) {
    RowPace pace(1000);
    const Instant begin{};
    Instant at = begin + milliseconds(10'000);
    const Instant first = at;
    std::uint64_t rows = 0;
    for (const std::uint64_t some : {500, 1, 2500, 0, 499, 1000}) {
        at += milliseconds(3);  // What reading takes.
        rows += some;
        at += pace.rest_after(some, at);
        EXPECT_GE(at - first, milliseconds(rows));
    }
    EXPECT_EQ(rows, 4500U);
    EXPECT_LE(at - first, milliseconds(rows + 6 * 4));
    EXPECT_EQ(pace.statement_rows(), 500U);
    // Idle time is not saved up.
    at += milliseconds(60'000);
    EXPECT_EQ(pace.rest_after(1000, at), milliseconds(1000));
    EXPECT_EQ(RowPace(0).rest_after(1'000'000, at), milliseconds(0));
    EXPECT_EQ(RowPace(1).statement_rows(), 1U);
}

class InWorkDir : public ::testing::Test {
 protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "walbrook.XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    std::string folder_;
};

std::vector<std::string> verdicts(const History& history) {
    std::vector<std::string> all;
    for (const TableVerdict& table : history.tables) {
        all.push_back(table.name + " " + std::string(name_of(table.outcome)) + " " +
                      std::to_string(table.at_secs));
    }
    return all;
}

TEST_F(InWorkDir, WhatIsRememberedOfEachTableIsTheLast) {
    EXPECT_EQ(load_history(folder_).began_at_secs, 0);
    History history;
    history.add(
        {{result_of(1, "a", Outcome::equal, 100), result_of(2, "b", Outcome::different, 100)}}, {},
        true, 100, 5);
    // One of some tables leaves the others.
    history.add({{result_of(2, "b", Outcome::equal, 200)}}, {"public.b"}, false, 200, 7);
    ASSERT_TRUE(store_history(folder_, history));
    History back = load_history(folder_);
    EXPECT_THAT(verdicts(back), ElementsAre("a equal 100", "b equal 200"));
    EXPECT_EQ(back.whole_at_secs, 100);
    EXPECT_EQ(back.began_at_secs, 200);
    EXPECT_EQ(back.took_ms, 7);
    EXPECT_EQ(back.position, Lsn{0x100});
    // One that is not counted to the end is shown as such, and was not in the first versions.
    TableResult many = result_of(2, "b", Outcome::different, 250);
    many.has_more = true;
    back.add({{many}}, {"public.b"}, false, 250, 7);
    ASSERT_TRUE(store_history(folder_, back));
    EXPECT_TRUE(load_history(folder_).tables[1].has_more);
    auto of_older = nlohmann::json::parse(std::ifstream(history_path(folder_)));
    of_older["tables"][1].erase("has_more");
    std::ofstream(history_path(folder_)) << of_older;
    EXPECT_THAT(verdicts(load_history(folder_)), ElementsAre("a equal 100", "b different 250"));
    // One of all forgets what is not there any more.
    back.add({{result_of(3, "c", Outcome::not_compared, 300)}}, {}, true, 300, 1);
    EXPECT_THAT(verdicts(back), ElementsAre("c not compared 300"));
    ASSERT_TRUE(store_history(folder_, back));
    EXPECT_THAT(verdicts(load_history(folder_)), ElementsAre("c not compared 300"));
    std::ifstream file(history_path(folder_));
    auto of_newer = nlohmann::json::parse(file);
    of_newer["format"] = 2;
    std::ofstream(history_path(folder_)) << of_newer;
    EXPECT_THAT(verdicts(load_history(folder_)), IsEmpty());
    std::ofstream(history_path(folder_)) << "{\"format\": 1, \"whole_at_secs\": 1";
    EXPECT_THAT(verdicts(load_history(folder_)), IsEmpty());
    EXPECT_FALSE(store_history(folder_ + "/absent", back));
}

TEST(Verdicts, ADifferenceStaysUntilTheTableIsFoundEqual) {
    History history;
    history.add(
        {{result_of(1, "a", Outcome::different, 100), result_of(2, "b", Outcome::different, 100),
          result_of(3, "c", Outcome::equal, 100)}},
        {}, true, 100, 1);
    // What is ever compared are other tables: verify.tables.
    history.add({{result_of(4, "d", Outcome::equal, 200)}}, {"public.[d-z]"}, true, 200, 1);
    EXPECT_THAT(verdicts(history),
                ElementsAre("a different 100", "b different 100", "d equal 200"));
    TableResult locked = result_of(1, "a", Outcome::not_compared, 300);
    locked.reason = "it is locked";
    history.add({{locked, result_of(2, "b", Outcome::equal, 300)}}, {"public.[ab]"}, false, 300, 1);
    EXPECT_THAT(verdicts(history), ElementsAre("a different 100", "b equal 300", "d equal 200"));
    EXPECT_EQ(history.tables[0].reason, "it is locked");
    EXPECT_EQ(history.tables[0].differing_rows, 1U);
    // Not published any more.
    History gone = history;
    gone.add({{result_of(2, "b", Outcome::equal, 400)}}, {}, true, 400, 1);
    EXPECT_THAT(verdicts(gone), ElementsAre("b equal 400"));
    history.add({{result_of(1, "a", Outcome::equal, 400)}}, {"public.a"}, false, 400, 1);
    EXPECT_THAT(verdicts(history), ElementsAre("a equal 400", "b equal 300", "d equal 200"));
}

// One that did not come to its end says nothing of the tables that are not in its report.
TEST(Verdicts, OfAnUnfinishedOneOnlyWhatDiffersIsAdded) {
    History history;
    history.add({{result_of(1, "a", Outcome::equal, 100), result_of(2, "b", Outcome::equal, 100),
                  result_of(3, "c", Outcome::equal, 100)}},
                {}, true, 100, 1);
    Report unfinished{{result_of(1, "a", Outcome::different, 200),
                       result_of(2, "b", Outcome::not_compared, 200),
                       result_of(4, "d", Outcome::different, 200)}};
    unfinished.error = Error(ErrorCode::unavailable, "nobody answers");
    history.add_different(unfinished, 200, 2);
    EXPECT_THAT(verdicts(history),
                ElementsAre("a different 200", "b equal 100", "c equal 100", "d different 200"));
    EXPECT_EQ(history.began_at_secs, 200);
    EXPECT_EQ(history.whole_at_secs, 100);
}

// One that goes on with what was compared yesterday, and meanwhile somebody else has compared.
TEST(Verdicts, AResultTakesNoNewerOnesPlace) {
    TableResult yesterday = result_of(1, "a", Outcome::equal, 100);
    TableResult today = result_of(1, "a", Outcome::different, 200);
    today.position = Lsn{0x200};
    History history;
    EXPECT_FALSE(history.has_newer(yesterday));
    history.add({{today}}, {}, false, 200, 1);
    EXPECT_TRUE(history.has_newer(yesterday));
    EXPECT_FALSE(history.has_newer(today));
    history.add({{yesterday, result_of(2, "b", Outcome::equal, 300)}}, {}, true, 300, 1);
    EXPECT_THAT(verdicts(history), ElementsAre("a different 200", "b equal 300"));
    EXPECT_EQ(history.tables[0].position, Lsn{0x200});
    // At the same position the later one counts.
    yesterday.position = today.position;
    EXPECT_TRUE(history.has_newer(yesterday));
    // What is compared now is news, also of another source, whose positions are lower.
    history.add({{result_of(1, "a", Outcome::equal, 400)}}, {"public.a"}, false, 400, 1);
    EXPECT_THAT(verdicts(history), ElementsAre("a equal 400", "b equal 300"));
}

TEST_F(InWorkDir, ProgressIsWhatWasWrittenWhole) {
    Progress progress(folder_ + "/progress");
    EXPECT_THAT(progress.load(0, 100), IsEmpty());
    progress.begin({result_of(1, "a", Outcome::equal)});
    progress.add(result_of(2, "b", Outcome::different));
    progress.add(result_of(3, "c", Outcome::not_compared));
    progress.add(result_of(4, "d", Outcome::different));
    // A repair came after them.
    progress.add(result_of(4, "d", Outcome::equal));
    progress.add(result_of(5, "e", Outcome::different));
    progress.add(result_of(5, "e", Outcome::not_compared));
    std::ofstream(folder_ + "/progress", std::ios::app) << "{\"oid\": 4, \"sch";
    const std::vector<TableResult> tables = Progress(folder_ + "/progress").load(0, 100);
    ASSERT_EQ(tables.size(), 3U);
    EXPECT_EQ(tables[0].name, "a");
    EXPECT_EQ(tables[1].outcome, Outcome::different);
    EXPECT_EQ(tables[2].name, "d");
    EXPECT_EQ(tables[2].outcome, Outcome::equal);
    progress.end();
    EXPECT_FALSE(std::filesystem::exists(folder_ + "/progress"));
}

// Each line has its time, whenever the file was written.
TEST_F(InWorkDir, ProgressOfAnotherTimeIsNotTakenOver) {
    constexpr std::int64_t kNow = 1'700'000'000;
    constexpr std::int64_t kHour = 3600;
    Progress progress(folder_ + "/progress");
    progress.begin({result_of(1, "a", Outcome::equal, kNow - 30 * kHour),
                    result_of(2, "b", Outcome::equal, kNow - 2 * kHour),
                    result_of(3, "c", Outcome::different, kNow)});
    progress.add(result_of(4, "d", Outcome::equal, kNow + kHour));
    const auto names = [&](std::int64_t from) {
        std::vector<std::string> all;
        for (const TableResult& table : progress.load(from, kNow)) all.push_back(table.name);
        return all;
    };
    EXPECT_THAT(names(kNow - 24 * kHour), ElementsAre("b", "c"));
    EXPECT_THAT(names(kNow - kHour), ElementsAre("c"));
    // Not even what went before one that is too old to count.
    progress.add(result_of(3, "c", Outcome::equal, kNow - 30 * kHour));
    EXPECT_THAT(names(kNow - kHour), IsEmpty());
    // As an older version wrote them.
    std::ofstream(folder_ + "/progress") << R"({"format": 1, "oid": 1, "outcome": "equal"})";
    EXPECT_THAT(names(0), IsEmpty());
}

TEST_F(InWorkDir, NoTwoComparisonsAtOnce) {
    {
        auto first = ComparisonLock::take(folder_);
        ASSERT_TRUE(first);
        const ComparisonLock moved = *std::move(first);
        const auto second = ComparisonLock::take(folder_);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code(), ErrorCode::conflict);
    }
    EXPECT_TRUE(ComparisonLock::take(folder_));
    EXPECT_FALSE(ComparisonLock::take(folder_ + "/absent"));
}

}  // namespace
}  // namespace walbrook::verify
