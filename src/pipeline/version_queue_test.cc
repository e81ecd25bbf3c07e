#include "pipeline/version_queue.h"

#include "walbrook/stores.h"
#include "walbrook/testing/rows.h"
#include "walbrook/testing/store_around.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>

namespace walbrook {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RefusingStore final : public testing::StoreAround {
 public:
    RefusingStore() : StoreAround(make_memory_store()) {}

    Status put_schema(const TableSchema& schema, Lsn from) override {
        asked.push_back(schema.id.oid);
        const auto refusal = refusals.find(schema.id.oid);
        if (refusal != refusals.end()) return refusal->second;
        return StoreAround::put_schema(schema, from);
    }

    std::map<std::uint32_t, Error> refusals;  // By the oid of the table.
    std::vector<std::uint32_t> asked;
};

class VersionQueueTest : public ::testing::Test {
 protected:
    VersionQueueTest() : queue_(gate_, log_) { EXPECT_TRUE(store_.open({1, "memory"})); }

    void add(std::uint32_t oid, std::uint64_t from) {
        queue_.add(
            {testing::TableMaker(oid, "t" + std::to_string(oid)).key("id").make(), Lsn{from}});
    }
    // Tables that must stop, once some time has passed; 0: the pipeline must.
    std::vector<std::uint32_t> store(seconds later = seconds(60)) {
        now_ += later;
        const auto refused = queue_.store(Lsn{10}, now_);
        if (!refused) return {0};
        std::vector<std::uint32_t> oids;
        for (const auto& [table, error] : *refused) oids.push_back(table.oid);
        return oids;
    }
    bool has(std::uint32_t oid) {
        const auto found = store_.get_schema({oid}, Lsn{1000});
        return found && *found != nullptr;
    }

    RefusingStore store_;
    StoreGate gate_{store_};
    int lines_ = 0;
    Logger log_{[this](const LogRecord&) { ++lines_; }};
    Instant now_{};
    VersionQueue queue_;
};

TEST_F(VersionQueueTest, AllAreStoredInOrder) {
    add(1, 100);
    add(2, 110);
    add(1, 120);
    EXPECT_THAT(store(), IsEmpty());
    EXPECT_THAT(store_.asked, ElementsAre(1, 2, 1));
    EXPECT_TRUE(queue_.empty());
    EXPECT_EQ(queue_.trouble(), "");
}

TEST_F(VersionQueueTest, WhatPassesIsTriedAgainAfterAPauseAndShownUntilThen) {
    store_.refusals.emplace(1, Error(ErrorCode::unavailable, "planned"));
    add(1, 100);
    add(2, 110);
    for (int i = 0; i < 3; ++i) EXPECT_THAT(store(), IsEmpty());
    EXPECT_THAT(store(seconds(0)), IsEmpty());
    EXPECT_THAT(store_.asked, ElementsAre(1, 1, 1));
    EXPECT_THAT(queue_.trouble(), HasSubstr("planned"));
    EXPECT_EQ(lines_, 1);
    EXPECT_FALSE(queue_.empty());
    store_.refusals.clear();
    EXPECT_THAT(store(), IsEmpty());
    EXPECT_TRUE(queue_.empty() && has(1) && has(2));
    EXPECT_EQ(queue_.trouble(), "");
}

// A character that its encoding lacks.
TEST_F(VersionQueueTest, WhatTheStoreCannotHoldStopsOneTable) {
    store_.refusals.emplace(1, Error(ErrorCode::malformed, "planned"));
    add(1, 100);
    add(2, 110);
    add(1, 120);
    EXPECT_THAT(store(), ElementsAre(1));
    EXPECT_THAT(store_.asked, ElementsAre(1, 2));
    EXPECT_TRUE(queue_.empty() && has(2) && !has(1));
    EXPECT_EQ(queue_.trouble(), "");
}

// Its rights were taken away, its tables are gone.
TEST_F(VersionQueueTest, WhatIsAboutTheStoreEndsThePipeline) {
    for (const ErrorCode code : {ErrorCode::permission, ErrorCode::schema_mismatch}) {
        store_.refusals.insert_or_assign(1, Error(code, "planned"));
        add(1, 100);
        EXPECT_THAT(store(), ElementsAre(0));
    }
}

}  // namespace
}  // namespace walbrook
