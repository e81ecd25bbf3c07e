#include "batch/change_log.h"

#include "walbrook/testing/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

namespace walbrook {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using walbrook::testing::append_text_row;
using walbrook::testing::TableMaker;

// A log whose every closed item goes to disk, or none.
class ChangeLogTest : public ::testing::TestWithParam<bool> {
 protected:
    ChangeLogTest() {
        std::string path = (std::filesystem::temp_directory_path() / "walbrook-XXXXXX").string();
        directory_ = ::mkdtemp(path.data());
        policy_.directory = directory_;
        if (GetParam()) {
            policy_.memory_bytes_max = 0;
            policy_.chunk_bytes = 1;
        }
    }
    ~ChangeLogTest() override { std::filesystem::remove_all(directory_); }

    static Transaction transaction(std::uint32_t xid) {
        return {{xid * 100ULL}, {xid * 100ULL + 50}, xid, xid};
    }
    static void insert(ChangeLog& log, const TableSchemaPtr& table, int id) {
        ChangeBatch& batch = log.open_batch(table);
        walbrook::testing::TextRow row(table->columns.size());
        row[0] = std::to_string(id);
        append_text_row(batch.new_rows, row);
        Change change;
        change.transaction = static_cast<std::uint32_t>(batch.transactions.size() - 1);
        change.new_row = static_cast<std::int32_t>(batch.new_rows.rows() - 1);
        batch.changes.push_back(change);
        ASSERT_TRUE(log.add_bytes(table->id, 10));
    }
    static void truncate(ChangeLog& log, std::vector<TableSchemaPtr> tables) {
        Truncate item;
        item.tables = std::move(tables);
        log.add(std::move(item));
    }
    // In the present transaction, or between transactions.
    static void become(ChangeLog& log, const TableSchemaPtr& from, const TableSchemaPtr& to,
                       bool is_between = false) {
        SchemaChange change;
        change.from = from;
        change.to = to;
        if (!is_between) change.transaction.commit_lsn = {1};
        log.add(std::move(change));
    }
    // What the flush does, in words: "u 3 @702" is an insert into u by transaction 702.
    static std::vector<std::string> read(Flush& flush) {
        std::vector<std::string> out;
        const auto by = [](const Transaction& transaction) {
            return " @" + std::to_string(transaction.xid);
        };
        flush.rewind();
        for (;;) {
            const auto item = flush.next();
            EXPECT_TRUE(item);
            if (!item || *item == nullptr) return out;
            if (const auto* batch = std::get_if<ChangeBatch>(*item)) {
                for (const Change& change : batch->changes) {
                    const auto row = static_cast<std::size_t>(change.new_row);
                    const auto id = batch->new_rows.columns()[0].fixed_at<std::int64_t>(row);
                    out.push_back(batch->schema()->name + (batch->copy ? "' " : " ") +
                                  std::to_string(id) + by(batch->transactions[change.transaction]));
                }
            } else if (const auto* truncated = std::get_if<Truncate>(*item)) {
                for (const auto& table : truncated->tables) {
                    out.push_back("truncate " + table->name + by(truncated->transaction));
                }
            } else if (const auto* change = std::get_if<SchemaChange>(*item)) {
                out.push_back(change->from->name + (change->copy ? "' becomes " : " becomes ") +
                              change->to->name + by(change->transaction));
            } else if (std::holds_alternative<Publish>(**item)) {
                out.push_back("publish");
            }
        }
    }

    const TableSchemaPtr t_ = TableMaker(1, "t").key("id").make();
    const TableSchemaPtr u_ = TableMaker(2, "u").key("id").make();
    const TableSchemaPtr t2_ = TableMaker(1, "t2").key("id").column("more").make();
    const TableSchemaPtr t3_ = TableMaker(1, "t3").key("id").make();
    const CopyTargetPtr copy_ = std::make_shared<const CopyTarget>(CopyTarget{t_, 1, Lsn{100}});
    SpillPolicy policy_;

 private:
    std::string directory_;
};

TEST_P(ChangeLogTest, GivesBackWhatWasAppendedInOrder) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    insert(log, t_, 2);
    log.begin_transaction(transaction(701));
    truncate(log, {t_});
    insert(log, t_, 3);
    const auto flush = log.finish({80'000});
    const std::vector<std::string> all{"t 1 @700", "t 2 @700", "truncate t @701", "t 3 @701"};
    EXPECT_EQ(read(*flush), all);
    EXPECT_EQ(read(*flush), all);  // Again after rewind().
    EXPECT_TRUE(log.empty());
}

TEST_P(ChangeLogTest, ABrokenTransactionLeavesNothing) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    log.begin_transaction(transaction(701));
    insert(log, t_, 2);
    truncate(log, {t_, u_});
    insert(log, t_, 3);
    log.drop_transaction();
    // The next one gets the place of the dropped one.
    log.begin_transaction(transaction(702));
    insert(log, t_, 4);
    EXPECT_THAT(read(*log.finish({80'000})), ElementsAre("t 1 @700", "t 4 @702"));
}

TEST_P(ChangeLogTest, OneTableLosesItsPartOfATransaction) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    log.begin_transaction(transaction(701));
    insert(log, t_, 2);
    insert(log, u_, 3);
    truncate(log, {t_, u_});
    log.drop_from_transaction(t_->id);
    EXPECT_THAT(read(*log.finish({80'000})),
                ElementsAre("t 1 @700", "u 3 @701", "truncate u @701"));
}

TEST_P(ChangeLogTest, DropTableTakesChangesTruncatesAndPublish) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    insert(log, u_, 2);
    truncate(log, {t_, u_});
    log.add(Publish{copy_});
    log.drop_table(t_->id);
    EXPECT_THAT(read(*log.finish({80'000})), ElementsAre("u 2 @700", "truncate u @700"));
}

// The copy's snapshot shows transaction 701: applied again, its truncate would empty the
// copied rows.
TEST_P(ChangeLogTest, MovedChangesLeaveOutSkippedTransactions) {
    ChangeLog held(policy_);
    held.begin_transaction(transaction(700));
    insert(held, t_, 1);
    held.begin_transaction(transaction(701));
    truncate(held, {t_});
    insert(held, t_, 2);
    held.begin_transaction(transaction(702));
    truncate(held, {t_});
    insert(held, t_, 3);
    ChangeLog log(policy_);
    log.begin_transaction(transaction(690));
    insert(log, u_, 9);
    log.append(std::move(held), copy_, [](const Transaction& t) { return t.xid == 701; });
    log.begin_transaction(transaction(703));
    insert(log, t_, 4);
    const auto flush = log.finish({80'000});
    const std::vector<std::string> all{"u 9 @690", "t' 1 @700", "truncate t @702", "t' 3 @702",
                                       "t 4 @703"};
    EXPECT_EQ(read(*flush), all);
    EXPECT_EQ(read(*flush), all);
}

TEST_P(ChangeLogTest, WhatWasTakenBackBeforeAMoveIsNotAskedFor) {
    ChangeLog held(policy_);
    held.begin_transaction(transaction(700));
    insert(held, t_, 1);
    held.begin_transaction(transaction(701));
    insert(held, t_, 2);
    truncate(held, {t_});
    held.drop_transaction();
    ChangeLog log(policy_);
    log.append(std::move(held), copy_, [](const Transaction& t) { return t.xid == 700; });
    EXPECT_THAT(read(*log.finish({80'000})), IsEmpty());
}

TEST_P(ChangeLogTest, SlicesFromTheFrontAndTheRestAreTheWhole) {
    ChangeLog held(policy_);
    for (std::uint32_t xid = 700; xid < 706; ++xid) {
        held.begin_transaction(transaction(xid));
        insert(held, t_, static_cast<int>(xid));
        truncate(held, {u_});  // Closes nothing of t.
    }
    const auto is_even = [](const Transaction& t) { return t.xid % 2 == 0; };
    std::vector<std::string> seen;
    while (!held.empty()) {
        const std::size_t before = held.items();
        ChangeLog slice(policy_);
        slice.append_front(held, 1, copy_, is_even);
        ASSERT_LT(held.items(), before);
        for (std::string& each : read(*slice.finish({80'000}))) {
            if (each.starts_with("t'")) seen.push_back(std::move(each));
        }
    }
    EXPECT_THAT(seen, ElementsAre("t' 701 @701", "t' 703 @703", "t' 705 @705"));
    EXPECT_EQ(held.bytes(), 0U);
    EXPECT_EQ(held.memory_bytes(), 0U);
}

// A table may be held for hours, with a transaction a row.
TEST_P(ChangeLogTest, TransactionsGoWithTheirChanges) {
    policy_.chunk_bytes = 10'000;
    policy_.memory_bytes_max = GetParam() ? 20'000 : 1'000'000;
    ChangeLog held(policy_);
    for (std::uint32_t xid = 1; xid <= 5000; ++xid) {
        held.begin_transaction(transaction(xid));
        insert(held, t_, static_cast<int>(xid));
        held.commit_transaction(transaction(xid));
        EXPECT_LE(held.memory_bytes(), policy_.memory_bytes_max + policy_.chunk_bytes);
    }
    EXPECT_GE(held.bytes(), 5000 * (10 + sizeof(Transaction)));
    std::uint32_t seen = 0;
    while (!held.empty()) {
        ChangeLog slice(policy_);
        slice.append_front(held, 30'000, copy_, nullptr);
        const auto flush = slice.finish({800'000});
        EXPECT_EQ(flush->commit_time_us(), 0);  // The table cannot be seen yet.
        for (;;) {
            const auto item = flush->next();
            ASSERT_TRUE(item);
            if (*item == nullptr) break;
            const auto& batch = std::get<ChangeBatch>(**item);
            EXPECT_LE(batch.transactions.size(), 300U);
            for (const Change& change : batch.changes) {
                EXPECT_EQ(batch.transactions[change.transaction].xid, ++seen);
            }
        }
    }
    EXPECT_EQ(seen, 5000U);
}

TEST_P(ChangeLogTest, WhatTheCommitTellsReachesChangesOnDisk) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    truncate(log, {t_});
    insert(log, t_, 2);
    Transaction whole = transaction(700);
    whole.end_lsn = {77'777};
    log.commit_transaction(whole);
    log.begin_transaction(transaction(701));
    insert(log, t_, 3);
    log.commit_transaction(transaction(701));
    const auto flush = log.finish({80'000});
    EXPECT_EQ(flush->commit_time_us(), transaction(701).commit_time_us);
    std::vector<std::uint64_t> ends;
    for (;;) {
        const auto item = flush->next();
        ASSERT_TRUE(item);
        if (*item == nullptr) break;
        if (const auto* batch = std::get_if<ChangeBatch>(*item)) {
            for (const Transaction& each : batch->transactions) ends.push_back(each.end_lsn.value);
        } else {
            ends.push_back(std::get<Truncate>(**item).transaction.end_lsn.value);
        }
    }
    const std::uint64_t last = transaction(701).end_lsn.value;
    // Where nothing goes to disk, both transactions are in the batch behind the truncate.
    EXPECT_THAT(ends, ElementsAre(77'777, 77'777, 77'777, last));
}

// The commit tells the whole transaction, and moves put the change where the rows go.
TEST_P(ChangeLogTest, ASchemaChangeStandsBetweenTheRowsOfBothVersions) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    insert(log, u_, 2);
    log.commit_transaction(transaction(700));
    Transaction begun = transaction(701);
    begun.end_lsn = {};
    log.begin_transaction(begun);
    insert(log, t_, 3);
    become(log, t_, t2_);
    insert(log, t2_, 4);
    insert(log, u_, 5);
    become(log, t2_, t3_);
    log.commit_transaction(transaction(701));
    become(log, t3_, t_, true);
    log.begin_transaction(transaction(702));
    insert(log, t_, 6);
    log.commit_transaction(transaction(702));
    const auto flush = log.finish({80'000});
    const std::vector<std::string> all = read(*flush);
    const auto of_t = [&] {
        std::vector<std::string> out;
        for (const std::string& each : all) {
            if (!each.starts_with("u")) out.push_back(each);
        }
        return out;
    }();
    EXPECT_THAT(of_t, ElementsAre("t 1 @700", "t 3 @701", "t becomes t2 @701", "t2 4 @701",
                                  "t2 becomes t3 @701", "t3 becomes t @0", "t 6 @702"));
    EXPECT_EQ(read(*flush), all);
    flush->rewind();
    for (;;) {
        const auto item = flush->next();
        ASSERT_TRUE(item);
        if (*item == nullptr) break;
        const auto* change = std::get_if<SchemaChange>(*item);
        if (change != nullptr && change->transaction.xid != 0) {
            EXPECT_EQ(change->transaction.end_lsn, transaction(701).end_lsn);
        }
    }
}

// Rows of a version must not come without the change that leads to it: not even an empty batch.
TEST_P(ChangeLogTest, ABrokenTransactionTakesItsSchemaChangesBack) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    log.begin_transaction(transaction(701));
    insert(log, t_, 2);
    become(log, t_, t2_);
    insert(log, t2_, 3);
    log.drop_transaction();
    log.commit_transaction(transaction(701));
    log.begin_transaction(transaction(702));
    insert(log, t_, 4);
    become(log, t_, t3_);
    insert(log, t3_, 5);
    const auto flush = log.finish({80'000});
    EXPECT_THAT(read(*flush),
                ElementsAre("t 1 @700", "t 4 @702", "t becomes t3 @702", "t3 5 @702"));
    flush->rewind();
    std::size_t items = 0;
    while (*flush->next() != nullptr) ++items;
    EXPECT_LE(items, 4U);
}

TEST_P(ChangeLogTest, OneTableLosesItsSchemaChangesOfATransaction) {
    const TableSchemaPtr u2 = TableMaker(2, "u2").key("id").make();
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    become(log, t_, t2_);
    insert(log, t2_, 1);
    log.commit_transaction(transaction(700));
    become(log, t2_, t3_, true);
    log.begin_transaction(transaction(701));
    insert(log, t3_, 2);
    become(log, t3_, t_);
    become(log, u_, u2);
    insert(log, t_, 3);
    log.drop_from_transaction(t_->id);
    log.commit_transaction(transaction(701));
    // What stands before the transaction stays, also what stands between two.
    EXPECT_THAT(read(*log.finish({80'000})), ElementsAre("t becomes t2 @700", "t2 1 @700",
                                                         "t2 becomes t3 @0", "u becomes u2 @701"));
}

// In the middle of a transaction, whose commit then must not find what is gone.
TEST_P(ChangeLogTest, DropTableTakesSchemaChangesOfTheOpenTransaction) {
    ChangeLog log(policy_);
    become(log, t_, t2_, true);
    log.begin_transaction(transaction(700));
    insert(log, u_, 1);
    insert(log, t2_, 2);
    become(log, t2_, t3_);
    truncate(log, {t3_, u_});
    insert(log, t3_, 3);
    log.add(Publish{copy_});
    log.drop_table(t_->id);
    log.commit_transaction(transaction(700));
    EXPECT_THAT(read(*log.finish({80'000})), ElementsAre("u 1 @700", "truncate u @700"));

    ChangeLog other(policy_);
    other.begin_transaction(transaction(700));
    insert(other, t_, 1);
    become(other, t_, t2_);
    other.add(Publish{copy_});
    other.drop_table(t_->id);
    EXPECT_TRUE(other.empty());
    EXPECT_EQ(other.bytes(), 0U);
    EXPECT_EQ(other.memory_bytes(), 0U);
}

// A copy whose snapshot shows transaction 701 has its version already.
TEST_P(ChangeLogTest, MovedSchemaChangesGoToTheCopyOrAreSkipped) {
    ChangeLog held(policy_);
    held.begin_transaction(transaction(701));
    become(held, t_, t2_);
    insert(held, t2_, 1);
    held.commit_transaction(transaction(701));
    held.begin_transaction(transaction(702));
    insert(held, t2_, 2);
    become(held, t2_, t3_);
    held.commit_transaction(transaction(702));
    become(held, t3_, t_, true);
    ChangeLog log(policy_);
    log.begin_transaction(transaction(690));
    insert(log, t_, 9);
    log.commit_transaction(transaction(690));
    log.append(std::move(held), copy_, [](const Transaction& t) { return t.xid == 701; });
    const auto flush = log.finish({80'000});
    const std::vector<std::string> all{"t 9 @690", "t2' 2 @702", "t2' becomes t3 @702",
                                       "t3' becomes t @0"};
    EXPECT_EQ(read(*flush), all);
    EXPECT_EQ(read(*flush), all);
}

// Rows that come after the move must not slip before what was moved.
TEST_P(ChangeLogTest, WhatIsMovedClosesTheBatchesBeforeIt) {
    policy_.chunk_bytes = 1 << 20;
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    insert(log, t_, 1);
    insert(log, u_, 2);
    log.commit_transaction(transaction(700));
    ChangeLog moved(policy_);
    moved.begin_transaction(transaction(701));
    truncate(moved, {u_});
    become(moved, t_, t2_);
    become(moved, t2_, t_);
    moved.commit_transaction(transaction(701));
    log.append(std::move(moved), nullptr, nullptr);
    log.begin_transaction(transaction(702));
    insert(log, t_, 3);
    insert(log, u_, 4);
    log.commit_transaction(transaction(702));
    EXPECT_THAT(read(*log.finish({80'000})),
                ElementsAre("t 1 @700", "u 2 @700", "truncate u @701", "t becomes t2 @701",
                            "t2 becomes t @701", "t 3 @702", "u 4 @702"));
}

TEST_P(ChangeLogTest, WhatIsAddedForACopyStaysThere) {
    ChangeLog log(policy_);
    log.begin_transaction(transaction(700));
    Truncate emptied;
    emptied.tables = {t_};
    emptied.copy = copy_;
    log.add(emptied);
    SchemaChange change;
    change.from = t_;
    change.to = t2_;
    change.copy = copy_;
    log.add(change);
    const auto flush = log.finish({80'000});
    const auto first = flush->next();
    ASSERT_TRUE(first && *first != nullptr);
    EXPECT_EQ(std::get<Truncate>(**first).copy, copy_);
    const auto second = flush->next();
    ASSERT_TRUE(second && *second != nullptr);
    EXPECT_EQ(std::get<SchemaChange>(**second).copy, copy_);
}

INSTANTIATE_TEST_SUITE_P(, ChangeLogTest, ::testing::Bool(),
                         [](const auto& where) { return where.param ? "OnDisk" : "InMemory"; });

}  // namespace
}  // namespace walbrook
