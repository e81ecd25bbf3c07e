#include "verify/verify.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "destinations/ducklake/catalog.h"
#include "pipeline/table_selection.h"
#include "postgres/slots.h"
#include "verify/compare_table.h"
#include "verify/ducklake_side.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace walbrook::verify {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long nothing is read while a position is named. A slot whose creation takes longer waits for
// transactions, and is tried again when they have ended.
constexpr milliseconds kHoldMax{10'000};
constexpr milliseconds kSlotLockTimeout{5'000};
constexpr seconds kSlotDeadline{30};
constexpr seconds kSoonOver{2};  // What a transaction that is younger is taken to be.
// A standby makes a slot with its primary's next record of running transactions.
constexpr seconds kStandbySlotDeadline{120};
constexpr seconds kKeptFor{300};
constexpr seconds kKeepInterval{60};
constexpr seconds kQueryDeadline{30};
// How long a source or a pipeline that does not answer is asked again.
constexpr seconds kReachableMax{60};
// A table that changes its columns while it is compared is left to a later position so often.
constexpr int kRounds = 5;
constexpr milliseconds kRoundInterval{1000};
// How long nothing is read while rows to be put right are.
constexpr milliseconds kRepairHoldMax{60'000};
// Keys that are sent at once: as JSON they have at most six times as many bytes, and the running
// process takes no request beyond 16 MiB.
constexpr std::size_t kRepairKeyBytesMax = 2 << 20;
constexpr std::size_t kKeyValueBytes = 8;  // Around each value.
// Rows that are named in the log.
constexpr std::size_t kRowsNamed = 10;
// Within this time the pipeline notices that a table was rewritten (once a second it looks).
constexpr milliseconds kNoticedMax{3000};
constexpr milliseconds kNoticedInterval{100};

// Both sides at one position.
struct Moment {
    Lsn position;  // Of the destination: what it shows there is what the snapshot has.
    SnapshotHolder holder;
    Instant taken_at;
    std::int64_t taken_at_secs;
    std::vector<std::pair<TableId, std::string>> unrepaired;  // And why.
    std::map<TableId, TableCopies> copies;                    // Before the position was named.
};

// Reading goes on when the position has come to nothing, not only when the hold has run out.
class Hold {
 public:
    explicit Hold(Cutter& pipeline) : pipeline_(pipeline) {}
    ~Hold() {
        if (!is_over_) pipeline_.hold_for_cut(milliseconds(0)).ignore();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

    Status begin(milliseconds at_most) { return pipeline_.hold_for_cut(at_most); }
    // The pipeline has been at the position.
    void is_over() { is_over_ = true; }

 private:
    Cutter& pipeline_;
    bool is_over_ = false;
};

// So many rows as may be sent at once; those of one table may be in several parts.
std::vector<std::vector<RowRepair>> in_parts(const std::vector<RowRepair>& repairs) {
    std::vector<std::vector<RowRepair>> parts;
    std::size_t bytes = 0;
    for (const RowRepair& rows : repairs) {
        for (const std::vector<std::string>& key : rows.keys) {
            std::size_t more = 0;
            for (const std::string& value : key) more += value.size() + kKeyValueBytes;
            if (parts.empty() || bytes + more > kRepairKeyBytesMax) {
                parts.emplace_back();
                bytes = 0;
            }
            bytes += more;
            std::vector<RowRepair>& part = parts.back();
            if (part.empty() || part.back().table != rows.table) part.push_back({rows.table, {}});
            part.back().keys.push_back(key);
        }
    }
    return parts;
}

// Says again and again that what is compared must stay readable.
class Keeper {
 public:
    Keeper(Cutter& pipeline, Lsn position, const Logger& log)
        : thread_([&pipeline, position, log](const std::stop_token& stop) {
              while (sleep_for(kKeepInterval, stop)) {
                  const Status kept = pipeline.keep_readable(position, kKeptFor);
                  if (!kept) {
                      log.failed(LogLevel::warn, "what is compared may become unreadable",
                                 kept.error());
                  }
              }
          }) {}

 private:
    std::jthread thread_;
};

// Whether it helps to ask again: a source or a pipeline that starts again is there soon.
bool may_pass(ErrorCode code) {
    return code == ErrorCode::aborted || code == ErrorCode::conflict ||
           code == ErrorCode::timed_out || code == ErrorCode::unavailable;
}

std::string joined_reasons(const std::string& first, const std::string& second) {
    return first.empty() || first == second ? second : first + "; then: " + second;
}

class Verification {
 public:
    Verification(const PipelineConfig& config, const DuckLakeConfig& lake, Cutter& pipeline,
                 const VerifyOptions& options, const Logger& log, const std::stop_token& stop)
        : config_(config),
          lake_(lake),
          pipeline_(pipeline),
          options_(options),
          log_(log),
          stop_(stop),
          report_{options.done} {}

    Result<Report> run();

 private:
    Result<Moment> take_moment(const std::vector<RowRepair>& repairs);
    Result<Moment> try_moment(const std::vector<RowRepair>& repairs);
    Status compare_and_repair();
    Status compare_all(Moment first);
    Status compare_each(Moment first);
    bool differs(const TableResult& result) const;
    Status leave_out_copied();
    Status look_for_copied();
    Status repair();
    Status put_right(const std::vector<RowRepair>& repairs, std::vector<TableId>& whole);
    void copy_again(const std::vector<TableId>& tables);
    // Why a table still differs.
    void note(TableResult& result, std::string_view what, const Error& error);
    // Null for a table that has left the publication since.
    TableResult* result_of(TableId table);
    Status wait_for_xids();
    // What is left for another moment.
    enum class Left : std::uint8_t { nothing, some, some_for_age };
    Result<Left> compare_at(Moment& moment);
    Status look_for_wanted(const std::map<TableId, PublishedTable>& published,
                           const std::string& lake_id);
    // At this moment nothing can be read any more.
    Result<Left> lose_moment(const Error& error);
    Result<std::optional<ComparedTable>> match(SourceSide& source, const PublishedTable& published,
                                               const ducklake::TableRecords& records,
                                               std::string& why_not, bool& is_passing);
    Result<Comparison> compare(SourceSide& source, Side& lake, const ComparedTable& table);
    void note_copies_begun(const Moment& moment, TableId table);
    void settle(TableResult result);
    // Of tables that were to be compared once more.
    void settle_unnamed(const Error& error);
    void tell(const TableResult& result);
    bool is_wanted(const PublishedTable& table) const;

    Purpose purpose(std::string_view role) const {
        Purpose made;
        made.application_name = application_name(config_.id, role);
        return made;
    }

    const PipelineConfig& config_;
    const DuckLakeConfig& lake_;
    Cutter& pipeline_;
    const VerifyOptions& options_;
    const Logger& log_;
    const std::stop_token& stop_;
    Report report_;
    std::uint64_t slots_made_ = 0;
    bool is_any_settled_ = false;
    // Of compare_all():
    std::set<TableId> settled_;
    std::map<TableId, std::uint32_t> copies_begun_;  // And were over before their position.
    std::map<TableId, int> tries_;            // Of tables that changed while they were compared.
    std::map<TableId, TableResult> unnamed_;  // They differ, and not all that does has a name yet.
    int lost_moments_ = 0;                    // In a row: between them no table was compared.
    OpenTransactions open_transactions_;
};

Result<Report> Verification::run() {
    if (const Status ended = compare_and_repair(); !ended) {
        if (!is_any_settled_) return ended.error();
        report_.error = ended.error();
    }
    std::sort(report_.tables.begin(), report_.tables.end(),
              [](const TableResult& a, const TableResult& b) {
                  return std::tie(a.schema, a.name) < std::tie(b.schema, b.name);
              });
    return std::move(report_);
}

Status Verification::compare_and_repair() {
    WALBROOK_TRY(Moment first, take_moment({}));
    WALBROOK_RETURN_IF_ERROR(compare_all(std::move(first)));
    return options_.repair ? repair() : Status();
}

// From this moment on, until every table has a result.
Status Verification::compare_all(Moment first) {
    settled_.clear();
    tries_.clear();
    unnamed_.clear();
    lost_moments_ = 0;
    const Status compared = compare_each(std::move(first));
    // Also when that has failed: what was found is reported.
    if (!compared) settle_unnamed(compared.error());
    const Status looked = leave_out_copied();
    return compared ? looked : compared;
}

Status Verification::compare_each(Moment first) {
    for (std::optional<Moment> moment(std::move(first));;) {
        WALBROOK_TRY(const Left left, compare_at(*moment));
        if (left == Left::nothing) return {};
        // Not while another one is waited for.
        moment.reset();
        if (left == Left::some && !sleep_for(kRoundInterval, stop_)) {
            return Error(ErrorCode::cancelled, "stopped before all tables were compared");
        }
        WALBROOK_TRY(moment, take_moment({}));
    }
}

// Not what an earlier run found, or what was there before a repair.
bool Verification::differs(const TableResult& result) const {
    return result.outcome == Outcome::different && settled_.contains(result.table);
}

// A table whose rows were changed without rows in the stream (rewritten, say) differs until the
// pipeline has noticed; it is copied again then. No difference is one of these if it is not.
Status Verification::leave_out_copied() {
    const Status looked = look_for_copied();
    for (TableResult& result : report_.tables) {
        if (!differs(result)) continue;
        if (looked) {
            tell(result);
            continue;
        }
        // Not told: whoever goes on compares it again.
        result.reason =
            joined_reasons(result.reason, "whether it was being copied again is not known");
    }
    return looked;
}

Status Verification::look_for_copied() {
    Instant until = now() + kNoticedMax;
    const Instant reachable_until = now() + kReachableMax;
    while (std::any_of(report_.tables.begin(), report_.tables.end(),
                       [&](const TableResult& result) { return differs(result); })) {
        auto copied = pipeline_.copies();
        if (copied) {
            for (TableResult& result : report_.tables) {
                if (!differs(result)) continue;
                // A pipeline that has just started knows of none yet.
                const auto copies = copied->find(result.table);
                const auto before = copies_begun_.find(result.table);
                if (copies == copied->end()) continue;
                // That copy may also be complete by now.
                const bool is_new =
                    before != copies_begun_.end() && copies->second.begun > before->second;
                if (!copies->second.is_under_way && !is_new) continue;
                result.outcome = Outcome::not_compared;
                result.reason =
                    fmt::format("it differs in {} rows at {}, and is being copied again",
                                result.differing_rows, to_string(result.position));
            }
            if (now() >= until) return {};
        } else if (!may_pass(copied.error().code()) || now() >= reachable_until) {
            return std::move(copied).error().with_context(
                "ask the pipeline which tables are being copied again");
        } else {
            log_.failed(LogLevel::info, "the pipeline is asked again", copied.error());
            // One that starts again notices as late as the first.
            until = now() + kNoticedMax;
        }
        if (!sleep_for(copied ? kNoticedInterval : kRoundInterval, stop_)) {
            return Error(ErrorCode::cancelled, "stopped before all tables were compared");
        }
    }
    return {};
}

TableResult* Verification::result_of(TableId table) {
    const auto found =
        std::find_if(report_.tables.begin(), report_.tables.end(),
                     [&](const TableResult& result) { return result.table == table; });
    return found == report_.tables.end() ? nullptr : &*found;
}

// The rows that differ become those of a later position, at which they are compared again.
Status Verification::repair() {
    std::vector<RowRepair> repairs;
    std::vector<TableId> whole;
    for (const TableResult& result : report_.tables) {
        if (result.outcome != Outcome::different) continue;
        if (result.key.empty() || result.has_more || result.differences.empty() ||
            result.differences.size() < result.differing_rows) {
            whole.push_back(result.table);
            continue;
        }
        log_.error("a table differs from the source; its rows are put right",
                   {{"table", result.schema + "." + result.name},
                    {"position", result.position},
                    {"differing_rows", result.differing_rows},
                    {"rows", rows_text(result, kRowsNamed)}});
        RowRepair rows{result.table, {}};
        for (const Difference& difference : result.differences) rows.keys.push_back(difference.key);
        repairs.push_back(std::move(rows));
    }
    if (!repairs.empty()) WALBROOK_RETURN_IF_ERROR(put_right(repairs, whole));
    copy_again(whole);
    return {};
}

// Whatever happens to it, what was found is reported. Those that cannot be put right so go to
// `whole`.
Status Verification::put_right(const std::vector<RowRepair>& repairs, std::vector<TableId>& whole) {
    for (const RowRepair& rows : repairs) {
        // Whoever goes on after a stop compares it again.
        TableResult none = *result_of(rows.table);
        none.outcome = Outcome::not_compared;
        none.reason = "its rows were being put right";
        tell(none);
    }
    std::optional<Moment> moment;
    std::set<TableId> refused;
    for (std::vector<RowRepair>& part : in_parts(repairs)) {
        std::erase_if(part, [&](const RowRepair& rows) { return refused.contains(rows.table); });
        if (part.empty()) continue;
        moment.reset();
        auto taken = take_moment(part);
        if (!taken) {
            if (taken.error().code() == ErrorCode::cancelled) return std::move(taken).error();
            for (const RowRepair& rows : repairs) {
                if (refused.contains(rows.table)) continue;
                note(*result_of(rows.table), "not all of its rows were put right", taken.error());
            }
            return {};
        }
        moment = *std::move(taken);
        for (const auto& [table, reason] : moment->unrepaired) {
            if (!refused.insert(table).second) continue;
            const TableResult& result = *result_of(table);
            log_.info("rows are not put right one by one",
                      {{"table", result.schema + "." + result.name}, {"reason", reason}});
            whole.push_back(table);
        }
    }
    std::map<TableId, TableResult> before;
    for (const RowRepair& rows : repairs) {
        if (!refused.contains(rows.table)) before.emplace(rows.table, *result_of(rows.table));
    }
    if (before.empty() || !moment) return {};
    std::erase_if(report_.tables,
                  [&](const TableResult& result) { return before.contains(result.table); });
    const Status compared = compare_all(*std::move(moment));
    for (auto& [table, found] : before) {
        if (TableResult* const result = result_of(table)) {
            result->repaired_rows = found.differences.size();
            // Nobody knows why: the keys did not mean these rows, say.
            if (result->outcome == Outcome::different) whole.push_back(table);
        } else if (!compared) {
            note(found, "its rows were put right, and then not compared again", compared.error());
            report_.tables.push_back(std::move(found));
        }
    }
    const bool is_stopped = !compared && compared.error().code() == ErrorCode::cancelled;
    return is_stopped ? compared : Status();
}

// Each by itself: one that has gone meanwhile keeps no other from it.
void Verification::copy_again(const std::vector<TableId>& tables) {
    for (const TableId table : tables) {
        TableResult* const result = result_of(table);
        // It has left the publication since.
        if (result == nullptr) continue;
        const Status asked = pipeline_.resync({pattern_of(result->schema, result->name)});
        result->is_copied_again = static_cast<bool>(asked);
        if (!asked) note(*result, "it was not copied again", asked.error());
    }
}

void Verification::note(TableResult& result, std::string_view what, const Error& error) {
    result.reason = fmt::format("{}: {}", what, error.message());
    log_.failed(LogLevel::warn, "a difference stays", error,
                {{"table", result.schema + "." + result.name}, {"what", what}});
}

// A slot waits for every transaction that has an xid; reading would be held for as long.
Status Verification::wait_for_xids() {
    WALBROOK_TRY(Connection connection, Connection::open(config_.pg_connection, purpose("verify"),
                                                         within(kQueryDeadline, stop_)));
    const Instant until = now() + options_.patience;
    for (bool is_told = false;;) {
        WALBROOK_TRY(const std::vector<XidHolder> holders,
                     read_xid_holders(connection, within(kQueryDeadline, stop_)));
        const auto old = open_transactions_.not_younger_than(kSoonOver, holders, now());
        if (!old) return {};
        if (now() >= until) {
            return Error(ErrorCode::timed_out,
                         fmt::format("name a position: {} has an open transaction, and a position "
                                     "is named only when all that write have ended; end it, or "
                                     "try again later",
                                     describe(*old)));
        }
        if (!is_told && old->age_secs >= kSoonOver.count()) {
            is_told = true;
            log_.info("waiting for the end of a transaction of the source",
                      {{"of", describe(*old)}});
        }
        if (!sleep_for(milliseconds(500), stop_)) {
            return Error(ErrorCode::cancelled, "stopped before a position was named");
        }
    }
}

Result<Moment> Verification::take_moment(const std::vector<RowRepair>& repairs) {
    const Instant until = now() + options_.patience;
    const Instant reachable_until = now() + kReachableMax;
    Backoff backoff({milliseconds(100), milliseconds(5'000)});
    for (;;) {
        auto moment = try_moment(repairs);
        if (moment) return moment;
        const ErrorCode code = moment.error().code();
        const Instant last = code == ErrorCode::unavailable ? reachable_until : until;
        if (!may_pass(code) || now() >= std::min(last, until)) {
            // A conflict is another comparison that is under way (comparisons.h), and no trouble.
            const ErrorCode said = code == ErrorCode::conflict ? ErrorCode::timed_out : code;
            return Error(said, moment.error().message())
                .with_context("bring source and destination to one position");
        }
        log_.failed(LogLevel::info, "no common position yet", moment.error());
        if (!sleep_for(backoff.next(), stop_)) {
            return Error(ErrorCode::cancelled, "stopped before a position was named");
        }
    }
}

Result<Moment> Verification::try_moment(const std::vector<RowRepair>& repairs) {
    WALBROOK_RETURN_IF_ERROR(wait_for_xids());
    WALBROOK_TRY(Connection connection, Connection::open(config_.pg_connection, purpose("verify"),
                                                         within(kQueryDeadline, stop_)));
    WALBROOK_TRY(const bool is_standby, is_in_recovery(connection, within(kQueryDeadline, stop_)));
    Purpose naming = purpose("verify");
    if (!is_standby) naming.lock_timeout = kSlotLockTimeout;
    const milliseconds slot_max = is_standby ? milliseconds(kStandbySlotDeadline) : kHoldMax;
    // Before the position: whatever is copied later is not what it shows.
    WALBROOK_TRY(auto copies, pipeline_.copies());
    Hold hold(pipeline_);
    WALBROOK_RETURN_IF_ERROR(hold.begin(repairs.empty() ? slot_max : slot_max + kRepairHoldMax));
    const std::string slot = fmt::format("{}_tmp_verify_{}_{}", config_.slot_name(),
                                         connection.backend_pid(), ++slots_made_);
    const Instant taken_at = now();
    const std::int64_t taken_at_secs = unix_time_us() / 1'000'000;
    auto holder = SnapshotHolder::open_at_position(
        config_.pg_connection, naming,
        within(is_standby ? kStandbySlotDeadline : kSlotDeadline, stop_), slot);
    if (!holder) return std::move(holder).error();
    RowRepairs reached;
    if (repairs.empty()) {
        WALBROOK_TRY(reached.position, pipeline_.cut(holder->position(), options_.patience));
    } else {
        WALBROOK_TRY(reached, pipeline_.repair(holder->position(), holder->name(), repairs,
                                               options_.patience));
    }
    hold.is_over();
    WALBROOK_RETURN_IF_ERROR(pipeline_.keep_readable(reached.position, kKeptFor));
    return Moment{reached.position, *std::move(holder),         taken_at,
                  taken_at_secs,    std::move(reached.refused), std::move(copies)};
}

bool Verification::is_wanted(const PublishedTable& table) const {
    const bool is_done =
        std::any_of(report_.tables.begin(), report_.tables.end(),
                    [&](const TableResult& done) { return done.table == table.id; });
    return !is_done &&
           (options_.tables.empty() || is_named(options_.tables, table.schema, table.name));
}

void Verification::tell(const TableResult& result) {
    if (options_.on_table) options_.on_table(result);
}

void Verification::settle(TableResult result) {
    is_any_settled_ = true;
    auto known = unnamed_.extract(result.table);
    if (known && result.outcome == Outcome::not_compared) {
        known.mapped().reason = joined_reasons(known.mapped().reason, result.reason);
        result = std::move(known.mapped());
    }
    if (result.outcome != Outcome::different) {
        tell(result);
    } else {
        // Of those that differ not all stay. But hours may pass until the report.
        log_.warn(
            "a table seems to differ from the source; whether it is being copied again is "
            "looked at when all are compared",
            {{"table", result.schema + "." + result.name},
             {"position", result.position},
             {"differing_rows", result.differing_rows},
             {"rows", rows_text(result, kRowsNamed)}});
    }
    settled_.insert(result.table);
    report_.tables.push_back(std::move(result));
}

void Verification::settle_unnamed(const Error& error) {
    for (auto& [table, found] : std::exchange(unnamed_, {})) {
        found.reason = joined_reasons(found.reason, error.message());
        settle(std::move(found));
    }
}

Result<Verification::Left> Verification::lose_moment(const Error& error) {
    if (++lost_moments_ >= kRounds) return error;
    log_.failed(LogLevel::info, "tables are compared later", error);
    return Left::some;
}

// What is asked for must be there.
Status Verification::look_for_wanted(const std::map<TableId, PublishedTable>& published,
                                     const std::string& lake_id) {
    for (const std::string& name : options_.tables) {
        const bool is_there =
            std::any_of(published.begin(), published.end(), [&](const auto& each) {
                return is_named({name}, each.second.schema, each.second.name);
            });
        if (!is_there) {
            return Error(ErrorCode::config, fmt::format("publication {} has no table {}",
                                                        config_.publication_name, name));
        }
    }
    // What an earlier run left of tables that nobody asks for any more, or of another lake.
    std::erase_if(report_.tables, [&](const TableResult& done) {
        const auto found = published.find(done.table);
        return found == published.end() || done.lake_id != lake_id ||
               (!options_.tables.empty() &&
                !is_named(options_.tables, found->second.schema, found->second.name));
    });
    return {};
}

Result<Verification::Left> Verification::compare_at(Moment& moment) {
    const Keeper keeper(pipeline_, moment.position, log_);
    ducklake::SnapshotView::Options view_options;
    view_options.memory_bytes_max = options_.memory_bytes_max;
    view_options.temp_directory = options_.temp_directory;
    WALBROOK_TRY(const auto view,
                 ducklake::SnapshotView::open(lake_, moment.position, view_options));
    DuckLakeSide lake(*view);
    SourceSide source(config_.pg_connection, purpose("verify"), moment.holder,
                      {options_.rows_per_second_max});
    WALBROOK_TRY(const auto published, source.published(config_.publication_name, stop_));
    WALBROOK_RETURN_IF_ERROR(look_for_wanted(published, view->lake_id()));
    log_.info("comparing", {{"position", moment.position}, {"snapshot", view->snapshot()}});
    Left left = Left::nothing;
    bool is_first = true;
    for (const auto& [id, table] : published) {
        if (!is_wanted(table)) continue;
        // One has its turn at each position, so that there is an end.
        if (!is_first && now() - moment.taken_at >= options_.snapshot_age_max) {
            return left == Left::nothing ? Left::some_for_age : left;
        }
        is_first = false;
        TableResult result;
        result.table = id;
        result.schema = table.schema;
        result.name = table.name;
        bool is_passing = false;
        WALBROOK_TRY(const std::optional<ComparedTable> compared,
                     match(source, table, view->records(), result.reason, is_passing));
        Status whole;
        if (compared) {
            auto found = compare(source, lake, *compared);
            whole = found ? found->named : Status(found.error());
            if (found) {
                result = std::move(found->result);
                result.position = moment.position;
                note_copies_begun(moment, id);
            }
        }
        result.at_secs = moment.taken_at_secs;
        result.lake_id = view->lake_id();
        if (!whole) {
            result.reason = whole.error().message();
            if (result.outcome == Outcome::different) {
                log_.failed(LogLevel::warn,
                            "a table differs from the source, and not all of its rows can be named",
                            whole.error(), {{"table", table.schema + "." + table.name}});
                unnamed_[id] = result;
            }
            if (whole.error().code() == ErrorCode::cancelled) return whole.error();
            is_passing = whole.error().code() == ErrorCode::aborted ||
                         whole.error().code() == ErrorCode::conflict ||
                         whole.error().code() == ErrorCode::unavailable;
            // Not the table's fault, and the others would have it, too.
            if (const Status alive = moment.holder.check(within(kQueryDeadline, stop_)); !alive) {
                return lose_moment(alive.error());
            }
        } else if (compared) {
            is_passing = false;
            lost_moments_ = 0;
        }
        if (is_passing && ++tries_[id] < kRounds) {
            left = Left::some;
            log_.info("a table is compared later",
                      {{"table", table.schema + "." + table.name}, {"reason", result.reason}});
            continue;
        }
        settle(std::move(result));
    }
    return left;
}

void Verification::note_copies_begun(const Moment& moment, TableId table) {
    const auto copies = moment.copies.find(table);
    if (copies == moment.copies.end()) return;
    // One that was under way then may have ended before the others were compared.
    const bool is_one_of_now = copies->second.is_under_way && copies->second.begun > 0;
    copies_begun_[table] = copies->second.begun - (is_one_of_now ? 1U : 0U);
}

Result<std::optional<ComparedTable>> Verification::match(SourceSide& source,
                                                         const PublishedTable& published,
                                                         const ducklake::TableRecords& records,
                                                         std::string& why_not, bool& is_passing) {
    if (!is_copied(config_.table_sync_copy, published.schema, published.name)) {
        why_not = "its rows are not copied (table_sync_copy)";
        return std::optional<ComparedTable>();
    }
    const auto found = records.find(published.id.oid);
    if (found == records.end() || found->second.lake_table.empty()) {
        why_not = "the destination does not have it yet";
        return std::optional<ComparedTable>();
    }
    const ducklake::TableRecord& record = found->second;
    if (record.phase != TablePhase::ready) {
        why_not = fmt::format("it stands still at {}: {}", to_string(record.position),
                              record.reason.empty() ? name_of(record.phase) : record.reason);
        return std::optional<ComparedTable>();
    }
    if (!published.problem.empty()) {
        why_not = published.problem;  // The pipeline is about to stop it.
        return std::optional<ComparedTable>();
    }
    if (published.is_partly) {
        why_not = "the publication leaves operations out, so it is not a copy";
        return std::optional<ComparedTable>();
    }
    WALBROOK_TRY(const TableSchema schema, source.schema(published, stop_));
    ComparedTable table{published.id, published.schema, published.name, schema.columns, {}, {}};
    // Whatever the destination has not followed yet it will have at a later position.
    is_passing = true;
    if (schema.columns.size() != record.schema->columns.size()) {
        why_not = fmt::format("it has {} columns at the source and {} in the destination",
                              schema.columns.size(), record.schema->columns.size());
        return std::optional<ComparedTable>();
    }
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        const ColumnSchema& ours = schema.columns[i];
        const auto theirs =
            std::find_if(record.schema->columns.begin(), record.schema->columns.end(),
                         [&](const ColumnSchema& column) { return column.attnum == ours.attnum; });
        if (theirs == record.schema->columns.end()) {
            why_not = fmt::format("column {} is not in the destination", ours.name);
            return std::optional<ComparedTable>();
        }
        if (theirs->type != ours.type) {
            why_not = fmt::format("column {} is {} at the source and {} in the destination",
                                  ours.name, to_string(ours.type), to_string(theirs->type));
            return std::optional<ComparedTable>();
        }
        table.lake_columns.push_back(theirs->name);
    }
    is_passing = false;
    table.key = schema.key_columns();
    return table;
}

Result<Comparison> Verification::compare(SourceSide& source, Side& lake,
                                         const ComparedTable& table) {
    WALBROOK_TRY(const std::uint64_t estimated_rows, source.estimated_rows(table, stop_));
    return compare_table(source, lake, table, estimated_rows,
                         {options_.differences_max, options_.rows_in_memory_max}, stop_);
}

}  // namespace

std::string lake_problem(const DuckLakeConfig& lake) {
    if (ducklake::parse_catalog(lake.catalog).kind != ducklake::CatalogKind::duckdb) return {};
    return "destination.ducklake.catalog: a DuckDB file can be opened by one process alone, the "
           "one that writes, so nothing can compare this lake with its source; for that the "
           "catalog must be a SQLite file or in Postgres";
}

Result<Report> verify(const PipelineConfig& config, const DuckLakeConfig& lake, Cutter& pipeline,
                      const VerifyOptions& options, const Logger& log,
                      const std::stop_token& stop) {
    if (const std::string problem = lake_problem(lake); !problem.empty()) {
        return Error(ErrorCode::config, problem);
    }
    return Verification(config, lake, pipeline, options, log, stop).run();
}

}  // namespace walbrook::verify
