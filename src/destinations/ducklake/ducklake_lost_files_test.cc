// A data file that is gone stops the table that it belongs to, and no other; a disk that is away
// is waited for.

#include "destinations/ducklake/data_folder.h"
#include "destinations/ducklake/ducklake_fixture.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void write_file(const fs::path& path) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "x";
}

class DuckLakeLostFiles : public LakeTest {
 protected:
    void given_two_tables() {
        given(t_, {{"1", "a", "x"}, {"2", "b", "y"}});
        given(other_, {{"1", "a", "x"}});
    }
    static FlushItem update(const TableSchemaPtr& schema, const std::string& name) {
        ChangeBatch batch(schema);
        add_update(batch, {{"1", name, "x"}});
        return batch;
    }
    // Parquet files of table t.
    std::vector<fs::path> files_of_t() const {
        std::vector<fs::path> found;
        for (const auto& each : fs::recursive_directory_iterator(config().data_path)) {
            const bool is_its = each.path().string().find("_copy_16384_") != std::string::npos;
            if (is_its && each.path().extension() == ".parquet") found.push_back(each.path());
        }
        return found;
    }
    void expect_t_alone_stops(const Status& status, const std::string& file) const {
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().table_oid(), t_->id.oid);
        EXPECT_EQ(status.error().code(), ErrorCode::corrupt_state);
        EXPECT_THAT(status.error().message(), HasSubstr(file));
        EXPECT_THAT(status.error().message(), HasSubstr("walbrook resync public.t"));
    }

    const TableSchemaPtr t_ = TableMaker{}.make();
    const TableSchemaPtr other_ = TableMaker{.oid = 16385, .name = "other"}.make();
};

TEST_F(DuckLakeLostFiles, StopTheirTableAloneUntilItIsCopiedAgain) {
    open();
    given_two_tables();
    const std::vector<fs::path> files = files_of_t();
    ASSERT_EQ(files.size(), 1U);
    fs::remove(files[0]);
    expect_t_alone_stops(apply(110, list_of(update(t_, "new"), update(other_, "new"))), files[0]);
    // What the pipeline does then.
    expect_ok(apply(110, list_of(update(other_, "new"),
                                 Freeze{t_, TablePhase::errored, Lsn{100}, "a file is gone"})));
    EXPECT_EQ(table("public.other"), "1|new|x");
    // Its files are not read for that, nor at a start.
    reopen();
    expect_ok(apply(120, list_of(Publish{copy(t_, {{"1", "new", "x"}, {"2", "b", "y"}}, 2)})));
    expect_ok(apply(130, list_of(update(t_, "newer"))));
    EXPECT_EQ(table("public.t"), "1|newer|x; 2|b|y");
}

// The files that hold deletions are no others.
TEST_F(DuckLakeLostFiles, MayBeThoseOfDeletions) {
    open();
    given_two_tables();
    ChangeBatch gone(t_);
    add_delete(gone, {"2", std::nullopt, std::nullopt});
    expect_ok(apply(110, list_of(std::move(gone))));
    std::string deletions;
    for (const fs::path& each : files_of_t()) {
        if (each.string().find("delete") == std::string::npos) continue;
        deletions = each;
        fs::remove(each);
    }
    ASSERT_NE(deletions, "");
    expect_t_alone_stops(apply(120, list_of(update(t_, "new"))), deletions);
}

TEST_F(DuckLakeLostFiles, MayBeWithTheirFolder) {
    open();
    given_two_tables();
    const fs::path file = files_of_t().at(0);
    fs::remove_all(file.parent_path());
    // What only adds rows makes the folder again.
    expect_ok(apply(105, list_of(inserts(t_, {{"3", "c", "z"}}))));
    fs::remove_all(file.parent_path());
    expect_t_alone_stops(apply(110, list_of(update(t_, "new"))), file);
}

// A new column that is NOT NULL is allowed in a table without rows: so the table is asked for some.
TEST_F(DuckLakeLostFiles, AreMetByChangesOfColumns) {
    open();
    given_two_tables();
    const fs::path file = files_of_t().at(0);
    fs::remove(file);
    TableMaker maker;
    maker.columns.emplace_back("more", TypeKind::int32);
    auto wider = std::make_shared<TableSchema>(*maker.make());
    wider->columns.back().nullable = false;
    expect_t_alone_stops(apply(110, list_of(schema_change(t_, wider))), file);
}

TEST_F(DuckLakeLostFiles, AreNoneWhileTheDiskIsAway) {
    open();
    given_two_tables();
    const fs::path data = config().data_path;
    const fs::path away = folder_ / "away";
    fs::rename(data, away);
    fs::create_directory(data);
    const Status status = apply(110, list_of(update(t_, "new"), update(other_, "new")));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::unavailable);
    EXPECT_EQ(status.error().table_oid(), 0U);
    // Nor does a start take an empty folder for the lake's.
    close();
    lake_ = make_ducklake_destination(config());
    EXPECT_FALSE(lake_->open(who(), {}));
    close();
    EXPECT_FALSE(ducklake::is_data_folder(data));
    fs::remove_all(data);
    fs::rename(away, data);
    open();
    expect_ok(apply(110, list_of(update(t_, "new"), update(other_, "new"))));
    EXPECT_EQ(table("public.t"), "1|new|x; 2|b|y");
}

// The same of files that a disk has damaged; upkeep, which reads what only grows, stops nobody.
TEST_F(DuckLakeLostFiles, MayBeThereAndDamaged) {
    open();
    given_two_tables();
    const fs::path file = files_of_t().at(0);
    for (const std::uintmax_t size : {std::uintmax_t{0}, fs::file_size(file) - 10}) {
        const fs::path whole = folder_ / "whole";
        fs::rename(file, whole);
        fs::copy_file(whole, file);
        fs::resize_file(file, size);
        reopen();
        // The first changes of a table make its upkeep due.
        expect_ok(apply(105, list_of(inserts(t_, {{"3", "c", "z"}}))));
        for (int i = 0; i < 5; ++i) {
            const Status status = lake_->maintain({});
            if (status) continue;
            EXPECT_EQ(status.error().table_oid(), t_->id.oid) << status.error().message();
        }
        expect_t_alone_stops(apply(110, list_of(update(t_, "new"))), file);
        fs::rename(whole, file);
        ChangeBatch again(t_);
        add_delete(again, {"3", std::nullopt, std::nullopt});
        expect_ok(apply(110, list_of(std::move(again))));
    }
}

// Who kept it has died before it gave it back, while we were at work.
TEST_F(DuckLakeLostFiles, ComeBackByTheirSecondNames) {
    open();
    given_two_tables();
    const fs::path file = files_of_t().at(0);
    const fs::path kept =
        fs::path(config().data_path) / ".walbrook-kept" / fs::relative(file, config().data_path);
    fs::create_directories(kept.parent_path());
    fs::rename(file, kept);
    expect_ok(apply(110, list_of(update(t_, "new"))));
    EXPECT_EQ(table("public.t"), "1|new|x; 2|b|y");
}

TEST(IsGone, OnlyWhatIsMissingWhereTheRestIs) {
    const TempFolder top;
    const fs::path data = top / "data";
    const fs::path other_disk = top / "disk";
    write_file(data / "public/t/a.parquet");
    write_file(other_disk / "t/a.parquet");
    fs::create_directory(data / "empty");
    fs::create_directory_symlink(other_disk, data / "linked");
    fs::create_directory_symlink(top / "nowhere", data / "dangling");
    fs::create_directory(data / "public/emptied");
    const auto is_gone = [&](const std::string& name) {
        return ducklake::is_gone(data / name, data);
    };
    EXPECT_FALSE(is_gone("public/t/b.parquet"));  // Nothing says that this is a lake's folder.
    write_file(data / "walbrook-lake-id");
    EXPECT_TRUE(is_gone("public/t/b.parquet"));
    EXPECT_FALSE(is_gone("public/t/a.parquet"));
    EXPECT_TRUE(is_gone("public/emptied/a.parquet"));
    EXPECT_TRUE(is_gone("public/u/a.parquet"));
    EXPECT_TRUE(is_gone("linked/t/b.parquet"));
    EXPECT_TRUE(is_gone("linked/u/b.parquet"));
    EXPECT_FALSE(is_gone("linked/t/a.parquet"));
    EXPECT_FALSE(is_gone("dangling/t/a.parquet"));
    EXPECT_FALSE(is_gone("empty/t/a.parquet"));
    EXPECT_FALSE(is_gone("public/t/a.parquet/b.parquet"));
}

}  // namespace
}  // namespace walbrook::testing
