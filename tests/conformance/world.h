#pragma once

#include "forked_life.h"
#include "walbrook/testing/conformance.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace walbrook::testing {

// A table with the key `id` and the column `note`.
TableSchemaPtr simple(std::uint32_t oid = 16384, const std::string& name = "t");

// What a case works with: a harness, the destination that is open over it, and short
// words for what a pipeline does. A word that has a failure makes it a failure of the test.
class World {
 public:
    explicit World(std::unique_ptr<DestinationHarness> harness);
    ~World();

    Destination& destination() { return *destination_; }
    DestinationHarness& harness() { return *harness_; }
    Capabilities capabilities() const { return destination_->capabilities(); }
    static PipelineIdentity identity(const std::string& work_dir);

    // Opens a new destination, after closing the present one.
    Recovered reopen();
    // Closes the present destination and gives a new one a life without an end: `live` makes its
    // calls, in a forked process that is then killed; or here, and it is only destroyed, where the
    // harness says so. Then opens another one. What `live` changes in this process is lost if it
    // was another one, but for next_position(); and it has no readers: none of ours were forked.
    Recovered die(const std::function<void()>& live);
    // Of a life that is one flush of these items.
    template <class... Items>
    Recovered apply_and_die(Items... items) {
        TestFlush flush(next_position());
        (flush.add(std::move(items)), ...);
        return die([&] { expect_applied(flush); });
    }
    // Within die(), by what is pulled from us in a call: the process is gone now. Where it cannot
    // be killed the call gets this error, and nobody calls the destination again.
    Error end_of_life();
    // die() by a kill from outside, so long after has_no_more_items(), or where `live` ends if that
    // comes first. `ended` tells how long after it that was, unless the kill was earlier.
    struct Killed {
        Recovered recovered;
        KillTime ended;
    };
    Killed die_after(KillTime kill_after, const std::function<void()>& live);
    // Within die_after(), by what is pulled from us in a call.
    void has_no_more_items();
    // For cases that open themselves.
    void close();

    // A position after all that were used before.
    Lsn next_position() { return last_ = {last_.value + 0x100}; }
    Lsn last_position() const { return last_; }

    // A copy of a table, with one unit for each entry, not published.
    CopyTargetPtr begin_copy(const TableSchemaPtr& schema, std::uint32_t attempt = 1);
    void write_unit(const CopyTargetPtr& copy, std::uint32_t unit,
                    const std::vector<TextRow>& rows);
    CopyTargetPtr copy(const TableSchemaPtr& schema, const std::vector<TextRow>& rows,
                       std::uint32_t attempt = 1);
    void publish(const CopyTargetPtr& copy);
    // All of that.
    void load(const TableSchemaPtr& schema, const std::vector<TextRow>& rows,
              std::uint32_t attempt = 1);

    // A flush of these items at the next position.
    template <class... Items>
    void apply(Items... items) {
        TestFlush flush(next_position());
        (flush.add(std::move(items)), ...);
        expect_applied(flush);
    }
    void apply(ChangeRecorder& recorder) { apply(recorder.take()); }
    void expect_applied(Flush& flush);
    // Must fail with this code and, unless 0, this table, and change nothing that
    // `unchanged` lists.
    void expect_refused(Flush& flush, ErrorCode code, std::uint32_t table_oid);
    // For what a destination may also answer with ErrorCode::schema_mismatch for this table, so
    // that it is copied again: then false.
    bool expect_applied_or_refused(Flush& flush, std::uint32_t table_oid);

    std::vector<TextRow> read(const TableSchemaPtr& schema);
    // Say nothing of a destination that forgets: it has no readers.
    void expect_rows(const TableSchemaPtr& schema, std::vector<TextRow> expected);
    void expect_no_table(const TableSchemaPtr& schema);
    void expect_position(Lsn position);

 private:
    Recovered open();

    std::unique_ptr<DestinationHarness> harness_;
    std::unique_ptr<Destination> destination_;
    ForkedLife* life_ = nullptr;  // In a process that is to be killed.
    Lsn last_{0x1000000};
};

// A change between transactions. Rows that exist hold `existing`, one value a column of `to`,
// in those that `from` lacks; nothing but nulls if it is empty.
SchemaChange schema_change(const TableSchemaPtr& from, const TableSchemaPtr& to,
                           const TextRow& existing = {}, CopyTargetPtr copy = nullptr);
CopyTargetPtr copy_target(const TableSchemaPtr& schema, std::uint32_t attempt);
// The table's entry, or nullptr.
const RecoveredTable* find_table(const Recovered& recovered, const TableSchemaPtr& schema);

struct CaseEntry {
    ConformanceCase description;
    void (*run)(World& world);
};

std::vector<CaseEntry> all_cases();
void run_case(const CaseEntry& entry, std::unique_ptr<DestinationHarness> harness);

// One list a file.
std::span<const CaseEntry> copy_cases();
std::span<const CaseEntry> change_cases();
std::span<const CaseEntry> value_cases();
std::span<const CaseEntry> table_cases();
std::span<const CaseEntry> schema_cases();
std::span<const CaseEntry> random_schema_cases();
std::span<const CaseEntry> position_cases();
std::span<const CaseEntry> failure_cases();

}  // namespace walbrook::testing
