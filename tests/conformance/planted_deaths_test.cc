// What a destination does when it is closed or destroyed is not done when its process is killed:
// one that relies on it is found by deaths that are real, and by those alone.

#include "destination_around.h"
#include "first_failure.h"
#include "forked_life.h"
#include "journal_harness.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <poll.h>
#include <unistd.h>

namespace walbrook::testing {
namespace {

// The items of a flush, under another position.
class FlushAt final : public Flush {
 public:
    FlushAt(Flush& items, Lsn position) : items_(items), position_(position) {}
    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override { return items_.commit_time_us(); }
    Result<const FlushItem*> next() override { return items_.next(); }
    void rewind() override { items_.rewind(); }

 private:
    Flush& items_;
    const Lsn position_;
};

// Stores rows with their flush, but the position when it ends.
class LatePosition final : public DestinationAround {
 public:
    using DestinationAround::DestinationAround;
    ~LatePosition() override { store_position().ignore(); }

    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override {
        WALBROOK_TRY(Recovered recovered, inner_->open(who, stop));
        position_ = stored_ = recovered.position;
        return recovered;
    }
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override {
        FlushAt earlier(flush, stored_);
        WALBROOK_TRY(const Ack ack, inner_->apply(earlier, required, stop));
        position_ = std::max(position_, flush.position());
        return ack;
    }
    Result<Lsn> read_position(std::stop_token) override { return position_; }
    Status close() override {
        WALBROOK_RETURN_IF_ERROR(store_position());
        return inner_->close();
    }

 private:
    Status store_position() {
        if (position_ == stored_) return {};
        stored_ = position_;
        TestFlush nothing(position_);
        return inner_->apply(nothing, Ack::durable, {}).status();
    }

    Lsn position_;
    Lsn stored_;
};

class LatePositionHarness final : public JournalHarness {
 public:
    explicit LatePositionHarness(bool can_be_killed) : can_be_killed_(can_be_killed) {}
    std::unique_ptr<Destination> create() override {
        return std::make_unique<LatePosition>(JournalHarness::create());
    }
    bool can_be_killed() const override { return can_be_killed_; }

 private:
    const bool can_be_killed_;
};

bool late_position_fails(const char* name, bool can_be_killed) {
    return fails_conformance_case(
        name, [=] { return std::make_unique<LatePositionHarness>(can_be_killed); });
}

TEST(PlantedDeaths, APositionThatIsStoredAtTheEndIsFoundByKillsAlone) {
    for (const char* name : {"position_survives", "empty_flush_moves_the_position",
                             "crash_before_the_acknowledgement", "death_between_calls",
                             "death_within_a_commit", "unknown_outcomes", "overlapping_replays"}) {
        EXPECT_TRUE(late_position_fails(name, true)) << name;
        EXPECT_FALSE(late_position_fails(name, false)) << name;
    }
}

// Stores rows in one step, and the position a millisecond later in another one.
class TwoSteps final : public DestinationAround {
 public:
    using DestinationAround::DestinationAround;

    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override {
        WALBROOK_TRY(const Lsn stored, inner_->read_position({}));
        FlushAt earlier(flush, stored);
        WALBROOK_RETURN_IF_ERROR(inner_->apply(earlier, required, stop).status());
        poll(nullptr, 0, 1);
        TestFlush nothing(flush.position());
        return inner_->apply(nothing, required, {});
    }
};

class TwoStepsHarness final : public JournalHarness {
 public:
    std::unique_ptr<Destination> create() override {
        return std::make_unique<TwoSteps>(JournalHarness::create());
    }
};

TEST(PlantedDeaths, APositionThatIsStoredBehindTheRowsIsFoundByKillsFromOutsideAlone) {
    const auto make = [] { return std::make_unique<TwoStepsHarness>(); };
    EXPECT_TRUE(fails_conformance_case("death_within_a_commit", make));
    for (const char* name :
         {"position_survives", "empty_flush_moves_the_position", "crash_before_the_acknowledgement",
          "failed_flush_leaves_nothing", "death_between_calls", "death_within_a_call",
          "unknown_outcomes", "overlapping_replays"}) {
        EXPECT_FALSE(fails_conformance_case(name, make)) << name;
    }
}

// --- The forked process itself

void fail_and_end(ForkedLife& life) {
    EXPECT_EQ(1 + 1, 3) << "as planned";
    life.end(42);
}

TEST(ForkedLife, HandsItsFailuresOn) {
    static std::uint64_t last_word = 0;  // EXPECT_NONFATAL_FAILURE knows no locals.
    EXPECT_NONFATAL_FAILURE(last_word = run_forked(fail_and_end), "as planned");
    EXPECT_EQ(last_word, 42U);
}

TEST(ForkedLife, MustEndByTheKill) {
    EXPECT_NONFATAL_FAILURE(run_forked([](ForkedLife&) { _exit(7); }), "by exit code 7");
    EXPECT_NONFATAL_FAILURE(run_forked([](ForkedLife&) { std::raise(SIGTERM); }), "by signal 15");
    // By somebody else's.
    EXPECT_NONFATAL_FAILURE(run_forked([](ForkedLife&) { std::raise(SIGKILL); }), "by signal 9");
}

TEST(ForkedLife, IsKilledFromOutside) {
    constexpr std::chrono::hours kNever(1);
    const auto ends = [](ForkedLife& life) {
        life.start_the_clock();
        life.start_the_clock();  // Says nothing more.
        life.end(0);
    };
    EXPECT_TRUE(run_forked_until(kNever, ends));
    EXPECT_TRUE(run_forked_until({}, ends));
    EXPECT_TRUE(run_forked_until(kNever, [](ForkedLife& life) { life.end(0); }));
    const auto hangs = [](ForkedLife& life) {
        life.start_the_clock();
        for (;;) pause();
    };
    EXPECT_FALSE(run_forked_until(std::chrono::nanoseconds(0), hangs));
    EXPECT_FALSE(run_forked_until(std::chrono::milliseconds(2), hangs));
    EXPECT_NONFATAL_FAILURE(run_forked_until({}, fail_and_end), "as planned");
    EXPECT_NONFATAL_FAILURE(run_forked_until({}, [](ForkedLife&) { _exit(7); }), "by exit code 7");
}

}  // namespace
}  // namespace walbrook::testing
