// The lake's catalog in a Postgres database.

#include "destinations/ducklake/copies.h"
#include "destinations/ducklake/ducklake_fixture.h"
#include "support/database.h"
#include "support/eventually.h"
#include "support/tcp_proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sys/stat.h>
#include <thread>

namespace walbrook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class PostgresCatalog : public LakeTest {
 protected:
    DuckLakeConfig config() const override {
        const PgConnectionConfig at = database_.connection();
        return {fmt::format("postgres:host={} port={} user={} dbname={}", at.host, proxy_.port(),
                            at.username, at.name),
                folder_ / "data"};
    }
    // The catalog's commits wait for it in the server, until it says so: "select
    // pg_advisory_unlock(77)".
    Connection stopped_disk() {
        database_.exec(
            "create function wait() returns trigger language plpgsql as $$begin perform "
            "pg_advisory_xact_lock_shared(77); return null; end$$; create constraint trigger wait "
            "after insert on ducklake_snapshot_changes deferrable initially deferred for each row "
            "execute function wait()");
        Connection disk = database_.session();
        must_exec(disk, "select pg_advisory_lock(77)");
        return disk;
    }
    int waiting(const std::string& condition) {
        return std::stoi(database_.value(
            "select count(*) from pg_stat_activity where datname = current_database() and " +
            condition));
    }
    bool is_committing() { return waiting("wait_event = 'advisory'") == 1; }
    // A commit that waits for a stopped_disk() and whose client is cut off. `then` comes when
    // DuckLake has removed its files and the next session waits for its end.
    Status cut_off(const std::function<Status()>& commit, const std::function<void()>& then) {
        std::thread network([&] {
            EXPECT_TRUE(eventually([&] { return is_committing(); }));
            proxy_.half_open("", TcpProxy::Side::client);
            EXPECT_TRUE(eventually([&] {
                return waiting("wait_event_type = 'Lock' and wait_event <> 'advisory'") == 1;
            }));
            then();
        });
        Status status = commit();
        network.join();
        return status;
    }
    // To a disk where the files of the data cannot have second names, before there are any.
    void move_public_to_another_disk() {
        struct stat here{};
        std::filesystem::create_directories(config().data_path);
        ASSERT_EQ(::stat(config().data_path.c_str(), &here), 0);
        for (const char* disk : {"/dev/shm", "/var/tmp", "/tmp"}) {
            struct stat there{};
            if (::stat(disk, &there) != 0 || there.st_dev == here.st_dev) continue;
            other_disk_.emplace(disk);
            std::filesystem::create_directory(*other_disk_ / "public");
            std::filesystem::create_directory_symlink(*other_disk_ / "public",
                                                      config().data_path + "/public");
            return;
        }
        FAIL() << "no other disk than that of " << config().data_path;
    }
    // Flushes, of each of which one answer of these kinds is lost: the 1st, the 2nd, … until there
    // are no more. Each must be there in the end. Returns how many.
    int lose_answers(const std::vector<std::string>& kinds,
                     const std::function<std::vector<FlushItem>(int)>& items_of) {
        int id = 0;
        for (const std::string& kind : kinds) {
            bool has_lost = true;
            for (int nth = 1; has_lost && !HasFatalFailure(); ++nth) {
                SCOPED_TRACE(fmt::format("{} {}", kind, nth));
                lose_answer(kind, nth, Lsn{100 + static_cast<std::uint64_t>(id + 1)},
                            [&, i = ++id] { return items_of(i); });
                has_lost = proxy_.has_lost_answer();
                proxy_.lose_answer("", 0);
                if (nth > 60) ADD_FAILURE() << "no end";
                if (nth > 60) return id;
            }
        }
        return id;
    }
    void lose_answer(const std::string& kind, int nth, Lsn position,
                     const std::function<std::vector<FlushItem>()>& items) {
        proxy_.lose_answer(kind, nth);
        for (bool is_there = false; !is_there;) {
            const Status status = apply(position.value, items());
            is_there = status.ok();
            if (is_there) continue;
            ASSERT_TRUE(status.error().code() == ErrorCode::unavailable ||
                        status.error().code() == ErrorCode::unknown_outcome)
                << status.error().message();
            const Result<Lsn> found = lake_->read_position({});
            is_there = found && *found == position;
        }
    }
    // The table when its last column has been renamed so often.
    TableSchemaPtr with_note(std::uint64_t number) const {
        auto schema = std::make_shared<TableSchema>(*schema_);
        if (number != 0) schema->columns[2].name = fmt::format("note{}", number);
        return schema;
    }
    FlushItem row_of(const TableSchemaPtr& schema, int id) const {
        return inserts(schema, {{std::to_string(id), "x", "y"}});
    }
    FlushItem row(int id) const { return row_of(schema_, id); }

    Database database_{PgCluster::shared(newest_pg_version().front())};
    TcpProxy proxy_{database_.connection().port};
    std::optional<TempFolder> other_disk_;
    const TableSchemaPtr schema_ = TableMaker().make();
};

TEST_F(PostgresCatalog, KeepsWhatIsWrittenAndKnowsWhereItStands) {
    open();
    given(schema_, {{"1", "a", "x"}, {"2", "b", "x"}});
    ChangeBatch changes(schema_);
    add_update(changes, {"1", "z", "\x01"});
    add_delete(changes, {"2", std::nullopt, std::nullopt});
    expect_ok(apply(200, list_of(row(3), std::move(changes))));
    EXPECT_EQ(table("public.t"), "1|z|x; 3|x|y");
    const Recovered recovered = reopen();
    EXPECT_EQ(recovered.position, Lsn{200});
    ASSERT_EQ(recovered.tables.size(), 1U);
    EXPECT_EQ(recovered.tables[0].phase, TablePhase::ready);
    expect_ok(apply(300, list_of(Truncate{{schema_}, false, false, {}, 1, nullptr})));
    EXPECT_EQ(table("public.t"), "");
}

TEST_F(PostgresCatalog, FollowsSchemaChanges) {
    open();
    given(schema_, {{"1", "a", "x"}});
    auto second = std::make_shared<TableSchema>(*schema_);
    second->columns[2].name = "it's \"renamed\"";
    for (const char* name : {"s", "n"}) {
        second->columns.push_back(second->columns[1]);
        second->columns.back().name = name;
        second->columns.back().attnum = static_cast<std::int16_t>(second->columns.size());
    }
    expect_ok(apply(
        200, list_of(row(2), schema_change(schema_, second, {{}, {}, {}, "a\\'\"\n; --", "NULL"}),
                     inserts(second, {{"3", "c", "z", {}, {}}}))));
    auto third = std::make_shared<TableSchema>(*second);
    third->name = "u";
    third->columns.erase(third->columns.begin() + 1);
    expect_ok(apply(300, list_of(schema_change(second, third))));
    const std::string kAll = "1|x|a\\'\"\n; --|NULL; 2|y|a\\'\"\n; --|NULL; 3|z|NULL|NULL";
    EXPECT_EQ(table("public.u"), kAll);
    EXPECT_EQ(rows("SELECT id FROM public.u WHERE n = 'NULL'"), "1; 2");
    EXPECT_EQ(*reopen().tables[0].schema, *third);
    EXPECT_EQ(table("public.u"), kAll);
}

// A process that was cut off, and whose successor has begun, must not commit any more.
TEST_F(PostgresCatalog, OnlyTheLastWhoOpenedItWrites) {
    open();
    given(schema_, {{"1", "a", "b"}});
    const auto first = std::move(lake_);
    const Recovered recovered = open();
    EXPECT_EQ(recovered.position, Lsn{100});
    ListFlush late(200, list_of(row(2)));
    const auto refused = first->apply(late, Ack::durable, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::fenced);
    EXPECT_THAT(refused.error().message(), HasSubstr("another process writes to this lake"));
    expect_ok(apply(200, list_of(row(3))));
    EXPECT_EQ(table("public.t"), "1|a|b; 3|x|y");
    // And not when it tries again.
    late.rewind();
    EXPECT_FALSE(first->apply(late, Ack::durable, {}));
    EXPECT_EQ(table("public.t"), "1|a|b; 3|x|y");
}

TEST_F(PostgresCatalog, ALakeOfAnotherPipelineStaysWithItsWriter) {
    open();
    given(schema_, {{"1", "a", "b"}});
    const auto other = make_ducklake_destination(config());
    PipelineIdentity stranger = who();
    stranger.pipeline_id = 8;
    const auto opened = other->open(stranger, {});
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message(), HasSubstr("belongs to another source"));
    expect_ok(apply(200, list_of(row(2))));
}

// Each in the place of a format that a newer program wrote, which then goes on.
TEST_F(PostgresCatalog, OfANewerFormatIsRefusedAndStaysAsItIs) {
    open();
    given(schema_, {{"1", "a", "b"}});
    // It may have other functions and no trigger of that name; this database has no other ones.
    database_.exec(
        "drop trigger walbrook_forget_stats on ducklake_data_file; create or replace function "
        "walbrook_forget_bounds() returns trigger language plpgsql as $$begin return new; end$$");
    const auto state = [&] {
        return database_.value(
            "select (select epoch::text from walbrook_fence) || (select string_agg(prosrc, ' ' "
            "order by proname) from pg_proc where proname like 'walbrook%') || (select "
            "string_agg(tgname, ' ' order by tgname) from pg_trigger) || (select string_agg(s::"
            "text, ' ' order by s::text) from ducklake_table_column_stats s)");
    };
    const std::string first = state();
    const std::string records = database_.value(
        "select i.table_name from ducklake_inlined_data_tables i join ducklake_table t using "
        "(table_id) where t.table_name = 'tables'");
    const auto in_catalog = [&](const std::string& sql) { database_.exec(sql); };
    struct Case {
        std::function<void(int)> set_format;
        std::string message;
    };
    const auto replace = [](const std::string& column, int format) {
        return fmt::format("replace({}, '\"format\":{}', '\"format\":{}')", column, 3 - format,
                           format);
    };
    const std::vector<Case> cases = {
        {[&](int format) {
             in_catalog(fmt::format(
                 "update ducklake_metadata set value = '{}.0' where key = 'version'", format));
         },
         "has version 2.0 of DuckLake"},
        {[&](int format) {
             in_lake(fmt::format("UPDATE lake._walbrook.pipeline SET format_version = {}", format));
         },
         "the lake's records have format 2"},
        {[&](int format) {
             in_catalog("update ducklake_snapshot_changes set commit_extra_info = " +
                        replace("commit_extra_info", format));
         },
         "a note of format 2"},
        {[&](int format) {
             in_catalog(fmt::format("update {} set schema_json = convert_to({}, 'UTF8')", records,
                                    replace("convert_from(schema_json, 'UTF8')", format)));
         },
         "it has format 2"},
    };
    for (const Case& each : cases) {
        SCOPED_TRACE(each.message);
        each.set_format(2);
        const std::string before = state();
        const auto refused = make_ducklake_destination(config())->open(who(), {});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state) << refused.error().message();
        EXPECT_THAT(refused.error().message(), HasSubstr(each.message));
        EXPECT_EQ(state(), before);
        each.set_format(1);
    }
    expect_ok(apply(200, list_of(row(2))));
    EXPECT_EQ(table("public.t"), "1|a|b; 2|x|y");
    reopen();
    EXPECT_EQ(table("public.t"), "1|a|b; 2|x|y");
    EXPECT_NE(state(), first);
}

TEST_F(PostgresCatalog, GoesOnAfterItsSessionsWereEnded) {
    open();
    given(schema_, {{"1", "a", "b"}});
    database_.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
        "current_database() and pid <> pg_backend_pid()");
    // The commit that met the end of its session may fail; nothing of it is there then.
    const Status met = apply(200, list_of(row(2)));
    if (!met) expect_ok(apply(200, list_of(row(2))));
    EXPECT_EQ(table("public.t"), "1|a|b; 2|x|y");
}

// Whatever a flush is just asking when its session ends, it is tried again, and DuckDB's errors
// then say all sorts of things.
TEST_F(PostgresCatalog, ASessionThatEndsNeverStopsThePipeline) {
    open();
    given(schema_, {{"0", "x", "y"}});
    const int flushes =
        lose_answers({"BEGIN", "COPY", "SELECT"}, [&](int id) { return list_of(row(id)); });
    EXPECT_GT(flushes, 10);
    EXPECT_EQ(rows("SELECT count(*), sum(id) FROM public.t"),
              fmt::format("{}|{}", flushes + 1, flushes * (flushes + 1) / 2));
}

// Nor does it look like a change of columns that the lake refuses: the table would be copied again.
TEST_F(PostgresCatalog, ASessionThatEndsRefusesNoColumn) {
    open();
    given(schema_, {{"0", "x", "y"}});
    const int flushes = lose_answers({"COPY", "SELECT"}, [&](int id) {
        const auto number = static_cast<std::uint64_t>(id);
        return list_of(schema_change(with_note(number - 1), with_note(number)),
                       row_of(with_note(number), id));
    });
    EXPECT_GT(flushes, 30);
    EXPECT_EQ(rows(fmt::format("SELECT count(note{}), sum(id) FROM public.t", flushes)),
              fmt::format("{}|{}", flushes + 1, flushes * (flushes + 1) / 2));
}

// It looks like one that a lost session leaves, and is what the flush says of itself.
TEST_F(PostgresCatalog, AnErrorOfTheFlushComesThrough) {
    open();
    given(schema_, {{"0", "x", "y"}});
    class Failing : public ListFlush {
     public:
        using ListFlush::ListFlush;
        Result<const FlushItem*> next() override {
            ++asked;
            return Error(ErrorCode::internal, "planned by the test");
        }
        int asked = 0;
    };
    Failing flush(200, list_of(row(1)));
    const Result<Ack> applied = lake_->apply(flush, Ack::durable, {});
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code(), ErrorCode::internal) << applied.error().message();
    EXPECT_EQ(flush.asked, 1);
    EXPECT_EQ(table("public.t"), "0|x|y");
}

// Each of them stays in memory with its sessions: a process ends when it has had too many.
TEST_F(PostgresCatalog, AProcessBearsOnlySomeInvalidDuckDBs) {
    open();
    given(schema_, {{"0", "x", "y"}});
    // For DuckLake, which reads it when it changes columns, a mistake of its own.
    const auto set_default = [&](const std::string& value, const std::string& kind) {
        database_.exec(
            fmt::format("update ducklake_column set default_value = {}, "
                        "default_value_type = '{}' where column_name = 'id'",
                        value, kind));
    };
    // Good again when it has been tried so often.
    class Attempts : public ListFlush {
     public:
        Attempts(std::vector<FlushItem> items, int max, std::function<void()> mend)
            : ListFlush(200, std::move(items)), left_(max), mend_(std::move(mend)) {}
        void rewind() override {
            ListFlush::rewind();
            if (--left_ == 0) mend_();
        }

     private:
        int left_;
        std::function<void()> mend_;
    };
    set_default("'1, 2'", "expression");
    Attempts three(list_of(schema_change(schema_, with_note(1)), row_of(with_note(1), 1)), 3,
                   [&] { set_default("null", "literal"); });
    expect_ok(lake_->apply(three, Ack::durable, {}).status());
    EXPECT_EQ(rows("SELECT id, note1 FROM public.t"), "0|y; 1|y");

    set_default("'1, 2'", "expression");
    const auto change = [&] { return list_of(schema_change(with_note(1), with_note(2))); };
    const Status failed = apply(300, change());
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), ErrorCode::corrupt_state) << failed.error().message();
    lake_.reset();
    set_default("null", "literal");
    EXPECT_EQ(open().position, Lsn{200});
    expect_ok(apply(300, change()));
    EXPECT_EQ(rows("SELECT id, note2 FROM public.t"), "0|y; 1|y");
}

// DuckLake takes a commit without an answer for one that failed, and removes its files.
TEST_F(PostgresCatalog, ACommitWhoseAnswerIsLostIsWholeAndThereOnce) {
    open();
    given(schema_, {{"0", "x", "y"}});
    std::string expected = "0|x|y";
    std::uint64_t position = 100;
    bool has_lost = true;
    int unknown = 0;
    // The commits of reading transactions, too, as they come.
    for (int nth = 1; has_lost; ++nth) {
        SCOPED_TRACE(nth);
        position += 10;
        proxy_.lose_answer("COMMIT", nth);
        for (bool is_there = false; !is_there;) {
            Status status = apply(position, list_of(row(nth)));
            is_there = status.ok();
            if (status || status.error().code() != ErrorCode::unknown_outcome) continue;
            ++unknown;
            const Result<Lsn> found = lake_->read_position({});
            is_there = found && *found == Lsn{position};
        }
        has_lost = proxy_.has_lost_answer();
        proxy_.lose_answer("", 0);
        expected += fmt::format("; {}|x|y", nth);
        ASSERT_EQ(table("public.t"), expected);
        ASSERT_LT(nth, 9);
    }
    EXPECT_EQ(reopen().position, Lsn{position});
    EXPECT_EQ(table("public.t"), expected);
}

// Its client is gone, and the server only then ends the commit, as one does that waits for its disk
// or for a standby.
TEST_F(PostgresCatalog, ACommitThatIsStillUnderWayIsWaitedFor) {
    open();
    given(schema_, {{"0", "x", "y"}});
    Connection disk = stopped_disk();
    std::atomic<bool> has_answered = false;
    std::thread network([&] {
        EXPECT_TRUE(eventually([&] { return is_committing(); }));
        proxy_.half_open("", TcpProxy::Side::client);
        // Whoever tries again meanwhile would wait, too, for that commit.
        if (eventually([&] { return has_answered.load(); }, std::chrono::seconds(20))) return;
        ADD_FAILURE() << "it began again while the first commit was under way";
        must_exec(disk, "select pg_advisory_unlock(77)");
    });
    const Status first = apply(200, list_of(row(1)));
    has_answered = true;
    network.join();
    ASSERT_FALSE(first) << table("public.t");
    EXPECT_EQ(first.error().code(), ErrorCode::unknown_outcome) << first.error().message();
    // Whatever is asked meanwhile: nobody knows.
    const Result<Lsn> asked = lake_->read_position({});
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code(), ErrorCode::unavailable) << asked.error().message();
    const auto started = make_ducklake_destination(config())->open(who(), {});
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ErrorCode::unavailable) << started.error().message();
    EXPECT_THAT(started.error().message(), HasSubstr("a query: ERROR:  canceling statement due"));
    EXPECT_TRUE(is_committing());
    must_exec(disk, "select pg_advisory_unlock(77)");
    const Result<Lsn> found = lake_->read_position({});
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(*found, Lsn{200});
    expect_ok(apply(300, list_of(row(2))));
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y; 2|x|y");
    EXPECT_EQ(reopen().position, Lsn{300});
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y; 2|x|y");
}

// It has done all but the COMMIT when its client is gone, and the server is never told: whoever
// comes next, after a minute at most, finds the row of the epoch free.
TEST_F(PostgresCatalog, ACommitThatIsNeverSentHoldsNobodyUpForLong) {
    open();
    given(schema_, {{"0", "x", "y"}});
    // A second in the place of the minute. The disk stops before the COMMIT.
    database_.exec(
        "do $$begin execute replace(pg_get_functiondef('walbrook_check_epoch'::regproc), '60000', "
        "'1000'); end$$");
    Connection disk = stopped_disk();
    database_.exec(
        "drop trigger wait on ducklake_snapshot_changes; create trigger wait after insert on "
        "ducklake_snapshot_changes for each row execute function wait()");
    Status status = cut_off([&] { return apply(200, list_of(row(1))); },
                            [&] { must_exec(disk, "select pg_advisory_unlock(77)"); });
    EXPECT_TRUE(eventually([&] {
        if (!status) status = apply(200, list_of(row(1)));
        return status.ok();
    })) << status.error().message();
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y");
    EXPECT_EQ(reopen().position, Lsn{200});
}

// The catalog has it, and its file cannot be had again at once: it is no commit that failed.
TEST_F(PostgresCatalog, ACommitWhoseFilesComeBackLaterIsThereOnce) {
    open();
    given(schema_, {{"0", "x", "y"}});
    Connection disk = stopped_disk();
    const std::filesystem::path folder = config().data_path + "/public";
    const std::filesystem::path away = config().data_path + "/away";
    ASSERT_TRUE(std::filesystem::is_directory(folder));
    const auto flush = [&] { return apply(200, list_of(row(1))); };
    const Status first = cut_off(flush, [&] {
        std::filesystem::rename(folder, away);
        std::ofstream(folder) << "no folder";
        must_exec(disk, "select pg_advisory_unlock(77)");
    });
    ASSERT_FALSE(first);
    EXPECT_EQ(first.error().code(), ErrorCode::unknown_outcome) << first.error().message();
    EXPECT_THAT(first.error().message(), HasSubstr("cannot be brought back"));
    const Result<Lsn> asked = lake_->read_position({});
    ASSERT_FALSE(asked);
    EXPECT_EQ(asked.error().code(), ErrorCode::unavailable) << asked.error().message();
    std::filesystem::remove(folder);
    std::filesystem::rename(away, folder);
    const Result<Lsn> found = lake_->read_position({});
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(*found, Lsn{200});
    expect_ok(apply(300, list_of(row(2))));
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y; 2|x|y");
}

TEST_F(PostgresCatalog, FlushesGoOnWhereFilesHaveNoSecondNames) {
    ASSERT_NO_FATAL_FAILURE(move_public_to_another_disk());
    open();
    given(schema_, {{"0", "x", "y"}});
    expect_ok(apply(200, list_of(row(1))));
    EXPECT_EQ(reopen().position, Lsn{200});
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y");
}

// It could not be asked for at once, and its files are gone, as they should be.
TEST_F(PostgresCatalog, ACommitThatDidNotHappenNeedsNoSecondNames) {
    ASSERT_NO_FATAL_FAILURE(move_public_to_another_disk());
    open();
    given(schema_, {{"0", "x", "y"}});
    const CopyTargetPtr copied = begin(TableMaker{.oid = 16385, .name = "u"}.make());
    MadeRows reader = rows_of(copied->schema, {{"7", "x", "y"}});
    expect_ok(lake_->write_copy({copied, 0}, reader, {}));
    const std::vector<std::function<Status()>> commits = {
        [&] { return apply(200, list_of(row(1))); },
        [&] { return lake_->finish_copy(copied, {}); },
    };
    for (std::size_t i = 0; i < commits.size(); ++i) {
        SCOPED_TRACE(i);
        Connection disk = stopped_disk();
        const Status first =
            cut_off(commits[i], [&] { proxy_.half_open("", TcpProxy::Side::client); });
        ASSERT_FALSE(first);
        EXPECT_EQ(first.error().code(), ErrorCode::unknown_outcome) << first.error().message();
        // It never ends.
        database_.exec(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
            "current_database() and pid <> pg_backend_pid(); drop function wait() cascade");
        const Result<Lsn> found = lake_->read_position({});
        ASSERT_TRUE(found) << found.error().message();
        EXPECT_EQ(*found, i == 0 ? Lsn{100} : Lsn{200});
        expect_ok(commits[i]());
    }
    expect_ok(apply(300, list_of(row(2), Publish{copied})));
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y; 2|x|y");
    EXPECT_EQ(table("public.u"), "7|x|y");
    EXPECT_EQ(reopen().position, Lsn{300});
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y; 2|x|y");
}

// It happened, and there is nothing to bring them back from.
TEST_F(PostgresCatalog, ACommitThatLostItsFilesSaysWhich) {
    ASSERT_NO_FATAL_FAILURE(move_public_to_another_disk());
    open();
    given(schema_, {{"0", "x", "y"}});
    Connection disk = stopped_disk();
    const auto flush = [&] { return apply(200, list_of(row(1))); };
    const Status first = cut_off(flush, [&] { must_exec(disk, "select pg_advisory_unlock(77)"); });
    ASSERT_FALSE(first);
    EXPECT_EQ(first.error().code(), ErrorCode::unknown_outcome) << first.error().message();
    const Result<Lsn> found = lake_->read_position({});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code(), ErrorCode::corrupt_state);
    EXPECT_THAT(found.error().message(),
                AllOf(HasSubstr(config().data_path + "/public/_walbrook_copy_16384_1/ducklake-"),
                      HasSubstr("walbrook resync")));
    EXPECT_EQ(reopen().position, Lsn{200});
    EXPECT_THAT(table("public.t"), HasSubstr("No such file"));
    expect_ok(apply(300, list_of(row(2))));
    ChangeBatch needs_it(schema_);
    add_delete(needs_it, {"1", std::nullopt, std::nullopt});
    const Status refused = apply(400, list_of(std::move(needs_it)));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().table_oid(), schema_->id.oid) << refused.error().message();
    const std::vector<Row> all = {{"0", "x", "y"}, {"2", "x", "y"}};
    expect_ok(apply(400, list_of(Publish{copy(schema_, all, 2)})));
    EXPECT_EQ(table("public.t"), "0|x|y; 2|x|y");
}

// The successor finds all files in their places, and only then the other one hears of the end of
// its connection, and DuckLake removes them.
TEST_F(PostgresCatalog, WhoWasOvertakenTakesNoFilesAway) {
    open();
    given(schema_, {{"0", "x", "y"}});
    Connection disk = stopped_disk();
    Status late;
    std::thread writer([&] { late = apply(200, list_of(row(1))); });
    EXPECT_TRUE(eventually([&] { return is_committing(); }));
    proxy_.stall("");
    must_exec(disk, "select pg_advisory_unlock(77)");
    EXPECT_TRUE(eventually([&] { return !is_committing(); }));
    DuckLakeConfig direct = config();
    const PgConnectionConfig at = database_.connection();
    direct.catalog = fmt::format("postgres:host={} port={} user={} dbname={}", at.host, at.port,
                                 at.username, at.name);
    const auto second = make_ducklake_destination(direct);
    const auto opened = second->open(who(), {});
    EXPECT_TRUE(opened);
    EXPECT_EQ(opened ? opened->position : Lsn{}, Lsn{200});
    proxy_.half_open("", TcpProxy::Side::client);
    proxy_.resume();
    writer.join();
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::fenced) << late.error().message();
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y");
    ListFlush next(300, list_of(row(2)));
    expect_ok(second->apply(next, Ack::durable, {}).status());
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y; 2|x|y");
}

TEST_F(PostgresCatalog, MayBeNamedByAUri) {
    DuckLakeConfig named = config();
    const PgConnectionConfig at = database_.connection();
    named.catalog = fmt::format("postgres:postgresql://{}@{}:{}/{}", at.username, at.host,
                                proxy_.port(), at.name);
    lake_ = make_ducklake_destination(named);
    const auto opened = lake_->open(who(), {});
    ASSERT_TRUE(opened) << opened.error().message();
    given(schema_, {{"0", "x", "y"}});
    expect_ok(apply(200, list_of(row(1))));
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y");
}

// One that stood still in its start for longer than its lease lived.
TEST_F(PostgresCatalog, AStartThatWasOvertakenSweepsNothing) {
    open();
    given(schema_, {{"0", "x", "y"}});
    close();
    ducklake::LakeOptions options;
    options.catalog = ducklake::parse_catalog(config().catalog);
    options.data_path = config().data_path + "/";
    options.pipeline_id = who().pipeline_id;
    const auto first = ducklake::Lake::open(options);
    ASSERT_TRUE(first) << first.error().message();
    expect_ok((*first)->take_over());
    open();
    // Written, and not registered yet.
    const CopyTargetPtr next = begin(schema_, 2);
    MadeRows reader = rows_of(schema_, {{"5", "n", "n"}});
    expect_ok(lake_->write_copy({next, 0}, reader, {}));
    const auto swept = ducklake::sweep_files(**first);
    ASSERT_FALSE(swept);
    EXPECT_EQ(swept.error().code(), ErrorCode::fenced);
    expect_ok(lake_->finish_copy(next, {}));
    expect_ok(apply(200, list_of(Publish{next})));
    EXPECT_EQ(table("public.t"), "5|n|n");
}

// What a process leaves that dies between the commit and the restoring of its files.
TEST_F(PostgresCatalog, AStartBringsBackWhatACommitMisses) {
    open();
    given(schema_, {{"0", "x", "y"}});
    expect_ok(apply(200, list_of(row(1))));
    close();
    std::vector<std::filesystem::path> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(config().data_path)) {
        if (entry.path().extension() == ".parquet") all.push_back(entry.path());
    }
    // Those of the records, too, which are read before anything is changed.
    ASSERT_EQ(all.size(), 3U);
    for (const auto& path : all) {
        const auto kept = std::filesystem::path(config().data_path) / ".walbrook-kept" /
                          std::filesystem::relative(path, config().data_path);
        std::filesystem::create_directories(kept.parent_path());
        std::filesystem::rename(path, kept);
    }
    open();
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y");
    // With their second names, which another process might need.
    EXPECT_EQ(files(), 4U);
    close();
    for (const auto& path : all) {
        std::filesystem::last_write_time(
            path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(25));
    }
    open();
    EXPECT_EQ(files(), 2U);
    EXPECT_EQ(table("public.t"), "0|x|y; 1|x|y");
}

TEST_F(PostgresCatalog, UpkeepMergesAndForgetsStatistics) {
    open();
    given(schema_, {{"0", "x", "y"}});
    for (int i = 1; i <= 80; ++i) {
        expect_ok(apply(100 + static_cast<std::uint64_t>(i), list_of(row(i))));
        expect_ok(lake_->maintain({}));
    }
    EXPECT_EQ(rows("SELECT count(*), sum(id) FROM public.t"), "81|3240");
    EXPECT_EQ(database_.value("select count(*) < 40 from ducklake_data_file where end_snapshot is "
                              "null"),
              "t");
    EXPECT_EQ(database_.value("select count(*) from ducklake_file_column_stats s join "
                              "ducklake_data_file f using (data_file_id) where f.end_snapshot is "
                              "not null"),
              "0");
}

TEST_F(PostgresCatalog, NoReaderKeepsAStartFromGoingOn) {
    open();
    given(schema_, {{"1", "a", "b"}});
    close();
    Connection reader = database_.session();
    must_exec(reader,
              "begin; select count(*) from ducklake_snapshot_changes, ducklake_data_file, "
              "ducklake_file_column_stats");
    open();
    expect_ok(apply(200, list_of(row(2))));
    EXPECT_EQ(table("public.t"), "1|a|b; 2|x|y");
}

// A machine that is gone says nothing. What somebody has chosen stays, and so does what a string
// means, however it is written.
TEST(PostgresCatalogTimeOuts, AreAddedToTheConnectionString) {
    const auto attached = [](const std::string& text) {
        return ducklake::parse_catalog(text).attach_uri();
    };
    const std::string words =
        "connect_timeout=30 keepalives_idle=30 keepalives_interval=10 keepalives_count=3 "
        "tcp_user_timeout=60000";
    std::string query = words;
    std::replace(query.begin(), query.end(), ' ', '&');
    const std::string prefix = "ducklake:postgres:";
    EXPECT_EQ(attached("postgres:host=a password='x y=z'"),
              prefix + "host=a password='x y=z' " + words);
    EXPECT_EQ(attached("postgres://u:p%40?q@a/d"), prefix + "postgres://u:p%40?q@a/d?" + query);
    EXPECT_EQ(attached("postgresql://a/d?sslmode=prefer"),
              prefix + "postgresql://a/d?sslmode=prefer&" + query);
    EXPECT_EQ(attached("postgres:postgres://a"), prefix + "postgres://a?" + query);
    EXPECT_EQ(attached("postgres:host=a keepalives_count=7 connect_timeout=0"),
              prefix +
                  "host=a keepalives_count=7 connect_timeout=0 keepalives_idle=30 "
                  "keepalives_interval=10 tcp_user_timeout=60000");
    EXPECT_EQ(attached("postgres:host=a password='open"), prefix + "host=a password='open");
    EXPECT_EQ(attached("sqlite:/a"), "ducklake:sqlite:/a");
}

TEST_F(PostgresCatalog, MistakesInTheConnectionStringAreOfTheConfiguration) {
    EXPECT_THAT(DuckLakeConfig({"postgres:host=x prt=1 dbname=d", "data"}).problems(),
                ::testing::ElementsAre(HasSubstr("invalid connection option")));
    const PgConnectionConfig at = database_.connection();
    const auto lake = make_ducklake_destination(
        {fmt::format("postgres:host={} port={} user={} dbname=none", at.host, at.port, at.username),
         folder_ / "data"});
    const auto opened = lake->open(who(), {});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::config);
}

TEST_F(PostgresCatalog, SaysNoPasswordWhenItCannotConnect) {
    const auto lake = make_ducklake_destination(
        {"postgres:host=127.0.0.1 port=1 user=u password=hush dbname=d", folder_ / "data"});
    const auto opened = lake->open(who(), {});
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message(), HasSubstr("attach the lake's catalog"));
    EXPECT_THAT(opened.error().message(), Not(HasSubstr("hush")));
    for (const std::string catalog : {"postgres://u:hu@sh1@127.0.0.1:1/d",
                                      "postgres:host=127.0.0.1 port=1 password=hush sh1 user=u"}) {
        std::string all;
        for (const std::string& problem : DuckLakeConfig({catalog, "data"}).problems()) {
            all += problem;
        }
        if (all.empty()) {
            const auto other = make_ducklake_destination({catalog, folder_ / "data"});
            const auto refused = other->open(who(), {});
            ASSERT_FALSE(refused);
            all = refused.error().message();
        }
        EXPECT_THAT(all, Not(HasSubstr("hush")));
        EXPECT_THAT(all, Not(HasSubstr("sh1")));
    }
}

}  // namespace
}  // namespace walbrook::testing
