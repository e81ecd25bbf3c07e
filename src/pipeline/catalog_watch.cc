#include "pipeline/catalog_watch.h"

#include "base/backoff.h"
#include "postgres/slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kLookDeadline{30};
constexpr milliseconds kLookInterval{1000};
// Looks take at most a small part of the source's time, however many tables there are.
constexpr int kRestPerLook = 20;
// cannot_connect_now: the server shuts down, starts or recovers.
constexpr std::string_view kCannotConnectNow = "57P03";
// What is on its way may become durable meanwhile, and then the server ends the stream itself.
constexpr seconds kShutdownPatience{5};

}  // namespace

CatalogWatch::CatalogWatch(Parts& parts) : parts_(parts) {}

CatalogWatch::~CatalogWatch() { stop(); }

void CatalogWatch::start(CatalogLook first) {
    look_ = std::move(first);
    look_seen_ = ++parts_.catalog_seen;
    for (auto& [id, table] : look_.tables) {
        table.source.seen = look_seen_;
        compare_rows(id, table);  // It may answer before the next one is made.
        told_[id] = {key_of(table), 0, false};
    }
    next_look_ = now() + kLookInterval;
    thread_ = std::jthread([this] { work(stop_.get_token()); });
}

void CatalogWatch::stop() {
    stop_.request_stop();
    if (thread_.joinable()) thread_.join();
}

void CatalogWatch::ask(std::uint64_t request, std::uint32_t relation, std::uint32_t xid) {
    const std::lock_guard lock(mutex_);
    question_.ask({request, relation, xid, parts_.catalog_seen}, now());
    is_unseen_told_ = false;
    changed_.notify_all();
}

void CatalogWatch::withdraw() {
    const std::lock_guard lock(mutex_);
    question_.withdraw();
    seen_before_ = parts_.catalog_seen;
}

void CatalogWatch::look_soon() {
    const std::lock_guard lock(mutex_);
    is_asked_to_look_ = true;
    changed_.notify_all();
}

std::optional<Lsn> CatalogWatch::position_with_publication() {
    const std::lock_guard lock(mutex_);
    if (!wanted_publication_) {
        wanted_publication_ = parts_.catalog_seen + 1;
        publication_position_.reset();
    }
    if (publication_position_) wanted_publication_.reset();
    return publication_position_;
}

std::string CatalogWatch::trouble() const {
    const std::lock_guard lock(mutex_);
    return trouble_.empty() ? question_.trouble(now()) : trouble_;
}

void CatalogWatch::set_trouble(std::string text) {
    const std::lock_guard lock(mutex_);
    if (!text.empty() && text != trouble_) {
        parts_.log.warn("the source's catalog needs attention", {{"problem", text}});
    }
    trouble_ = std::move(text);
}

std::string CatalogWatch::key_of(const CatalogLook::Table& table) {
    std::string key = table.look.definition + to_string(table.look.content) + table.membership;
    key += table.problem;
    if (const auto& identity = table.published.identity) {
        key += static_cast<char>(identity->kind);
        for (const std::int16_t attnum : identity->attnums) key += fmt::format(",{}", attnum);
    }
    return key;
}

bool CatalogWatch::wait(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const auto is_due = [&] { return question_.due() <= now() || is_asked_to_look_; };
    while (!stop.stop_requested() && !is_due() && now() < next_look_) {
        // One that is asked meanwhile is due at once.
        changed_.wait_until(lock, stop, std::min(next_look_, question_.due()), is_due);
    }
    return !stop.stop_requested();
}

void CatalogWatch::work(const std::stop_token& stop) {
    Backoff backoff({milliseconds(100), milliseconds(5'000)});
    // At once: a session that stands outlives rights and certificates that a new one would need.
    connect(stop).ignore();
    while (wait(stop)) {
        if (answer_question()) continue;
        {
            const std::lock_guard lock(mutex_);
            is_asked_to_look_ = false;
        }
        const Instant began = now();
        const Status status = look(stop);
        watch_shutdown(status);
        if (!status) {
            if (stop.stop_requested()) return;
            const ErrorCode code = status.error().code();
            if ((code == ErrorCode::permission || code == ErrorCode::config) && is_waited_for()) {
                // The stream waits for the answer, and only a person can mend this.
                return parts_.fail(Error(status.error()).with_context("read the catalog"));
            }
            set_trouble("the catalog cannot be read: " + status.error().message());
            connection_.reset();
            if (!sleep_for(backoff.next(), stop)) return;
            continue;
        }
        backoff.reset();
        const auto took = now() - began;
        next_look_ = now() + std::max<Instant::duration>(kLookInterval, kRestPerLook * took);
        note_unseen();
    }
}

void CatalogWatch::watch_shutdown(const Status& look) {
    if (look || look.error().sqlstate() != kCannotConnectNow) {
        refused_since_.reset();
    } else if (!refused_since_) {
        refused_since_ = now();
    } else if (now() - *refused_since_ > kShutdownPatience) {
        ++shutdowns_;
    }
}

bool CatalogWatch::is_waited_for() const {
    const std::lock_guard lock(mutex_);
    return question_.get().has_value();
}

bool CatalogWatch::answer_question() {
    std::optional<CatalogQuestion> seen;
    {
        const std::lock_guard lock(mutex_);
        if (!question_.get() || !has_seen(*question_.get())) return false;
        seen = question_.get();
        question_.withdraw();
    }
    answer(*seen);
    return true;
}

void CatalogWatch::note_unseen() {
    const std::lock_guard lock(mutex_);
    if (!question_.get() || has_seen(*question_.get())) return;
    question_.not_seen(now());
    const std::string trouble = question_.trouble(now());
    if (trouble.empty() || std::exchange(is_unseen_told_, true)) return;
    parts_.log.warn("the source's catalog needs attention", {{"problem", trouble}});
}

// It is asked about transactions that have been decoded to their end. Called with the lock held.
bool CatalogWatch::has_seen(const CatalogQuestion& question) const {
    // Another server gives the same numbers to other transactions.
    if (look_seen_ <= seen_before_) return false;
    return look_.in_recovery ? look_seen_ > question.after : look_.xids.visible(question.xid);
}

// The stream of a standby goes on over the end of a timeline without a word.
Status CatalogWatch::watch_timeline(bool in_recovery, const Deadline& deadline) {
    // Whoever promoted it may have ended our session: nobody saw it as a standby then.
    const bool is_new = std::exchange(is_new_session_, false);
    if (!in_recovery) {
        if (look_.in_recovery || is_new) ++turns_;
        walsender_.reset();
        return {};
    }
    if (!walsender_ || !walsender_->is_open()) {
        Purpose purpose;
        purpose.application_name = application_name(parts_.config.id, "timeline");
        purpose.replication = true;
        WALBROOK_TRY(walsender_, Connection::open(parts_.config.pg_connection, purpose, deadline));
    }
    WALBROOK_TRY(const SystemIdentity system, identify_system(*walsender_, deadline));
    if (system.timeline != timeline_ && (timeline_ != 0 || is_new)) ++turns_;
    timeline_ = system.timeline;
    return {};
}

Status CatalogWatch::connect(const std::stop_token& stop) {
    if (connection_ && connection_->is_open()) return {};
    Purpose purpose;
    purpose.application_name = application_name(parts_.config.id, "catalog");
    WALBROOK_TRY(connection_, Connection::open(parts_.config.pg_connection, purpose,
                                               within(kLookDeadline, stop)));
    is_new_session_ = std::exchange(had_session_, true);  // The first one missed nothing.
    return {};
}

Status CatalogWatch::look(const std::stop_token& stop) {
    WALBROOK_RETURN_IF_ERROR(connect(stop));
    const Deadline deadline = within(kLookDeadline, stop);
    // Whoever read the catalog before this number was given read an older one.
    const std::uint64_t seen = ++parts_.catalog_seen;
    const auto is_news = [&](const CatalogLook::Table& table) {
        const auto known = look_.tables.find(table.published.id);
        return known == look_.tables.end() || known->second.source.schema == nullptr ||
               key_of(known->second) != key_of(table);
    };
    WALBROOK_TRY(CatalogLook next,
                 look_at_catalog(*connection_, deadline, parts_.config.publication_name, is_news));
    WALBROOK_RETURN_IF_ERROR(watch_timeline(next.in_recovery, deadline));
    if (!next.publication) {
        set_trouble(
            fmt::format("there is no publication {0}: changes are not sent; create it "
                        "again: create publication {0} for …",
                        parts_.config.publication_name));
        next.tables = std::move(look_.tables);
        look_ = std::move(next);
        look_seen_ = seen;
        return {};
    }
    set_trouble({});
    for (auto& [id, table] : next.tables) {
        const auto known = look_.tables.find(id);
        if (table.source.schema == nullptr && known != look_.tables.end()) {
            table.source = known->second.source;
        }
        table.source.seen = seen;
    }
    const std::vector<TableState> states = parts_.tables.all();
    WALBROOK_RETURN_IF_ERROR(check_partitions(states, next, deadline));
    // What may fail is done: whoever is answered from now on is told of all that this one saw.
    for (auto& [id, table] : next.tables) compare_rows(id, table);
    look_ = std::move(next);
    look_seen_ = seen;
    {
        const std::lock_guard lock(mutex_);
        if (wanted_publication_ && *wanted_publication_ <= seen) {
            // Not beyond: the stream begins there, and is refused where the log has not come yet.
            publication_position_ = look_.flushed;
        }
    }
    // First: what another table has as its leaf by now is told to leave before that is told.
    for (const TableState& state : states) {
        if (!look_.tables.contains(state.table)) retire(state);
    }
    for (const TableState& state : states) {
        const auto found = look_.tables.find(state.table);
        if (found == look_.tables.end() || retiring_.contains(state.table)) continue;
        heed(state, found->second);
    }
    std::erase_if(retiring_, [&](TableId id) {
        return std::none_of(states.begin(), states.end(),
                            [&](const TableState& state) { return state.table == id; });
    });
    for (auto& [id, table] : look_.tables) {
        const bool is_known = std::any_of(states.begin(), states.end(),
                                          [&](const auto& state) { return state.table == id; });
        if (!is_known && !retiring_.contains(id)) add(table);
    }
    return {};
}

// A partition that was taken out once is not asked again before its table is copied: each look
// would wait for the same lock, or have the server log the same refusal.
Status CatalogWatch::check_partitions(const std::vector<TableState>& states, CatalogLook& next,
                                      const Deadline& deadline) {
    std::map<std::uint32_t, std::string> doubtful;
    for (const TableState& state : states) {
        const auto found = next.tables.find(state.table);
        const auto before = parse_table_content(state.content);
        if (found == next.tables.end() || !before) continue;
        TableLook& look = found->second.look;
        const std::set<std::uint32_t> born_here = look.born_here;
        for (const auto& [oid, why] : doubtful_) {
            if (before->has_file(oid) || look.born_here.erase(oid) == 0) continue;
            look.not_seen = why;
        }
        WALBROOK_RETURN_IF_ERROR(
            check_new_partitions(*connection_, deadline, found->second.published, *before, look));
        for (const std::uint32_t oid : born_here) {
            if (!look.born_here.contains(oid)) doubtful.emplace(oid, look.not_seen);
        }
    }
    doubtful_ = std::move(doubtful);
    return {};
}

// Its record goes once the stream has passed the last of its changes.
void CatalogWatch::retire(const TableState& state) {
    if (!retiring_.insert(state.table).second) return;
    parts_.log.info("a table is no longer published: its data stays as it is",
                    {{"table", state.schema + "." + state.name}});
    told_.erase(state.table);
    parts_.tables.begin_removal(state.table);
    parts_.copy_events.tell(state.table,
                            Error(ErrorCode::aborted, "the table is no longer published"));
    parts_.inbox.put(input::Forget{state.table, look_.position});
}

void CatalogWatch::add(const CatalogLook::Table& table) {
    TableState state;
    state.table = table.published.id;
    state.schema = table.published.schema;
    state.name = table.published.name;
    state.membership = table.membership;
    state.content = to_string(table.look.content);
    // A name that the destination cannot hold beside the others is refused before it takes
    // another table's place.
    std::vector<TableSchemaPtr> others;
    for (const auto& [id, other] : look_.tables) {
        if (other.source.schema && id != state.table && parts_.tables.has_place(id)) {
            others.push_back(other.source.schema);
        }
    }
    std::string problem = table.problem;
    if (table.source.schema && problem.empty()) {
        const auto before = parts_.destination.refusals(others);
        others.push_back(table.source.schema);
        for (const std::string& refusal : parts_.destination.refusals(others)) {
            if (std::find(before.begin(), before.end(), refusal) == before.end()) {
                problem = refusal;
            }
        }
    }
    parts_.log.info("a table has come into the publication: it is copied",
                    {{"table", state.schema + "." + state.name}});
    Status status = parts_.tables.add(state);
    if (status && !problem.empty()) {
        status = parts_.tables.fail(state.table, Error(ErrorCode::unsupported_value, problem), {});
    }
    if (!status) set_trouble("the store cannot be written: " + status.error().message());
}

// Notes why rows of the table are others than those that were copied.
TableRegistry::Contents CatalogWatch::compare_rows(TableId id, CatalogLook::Table& table) const {
    TableRegistry::Contents contents = parts_.tables.contents(id);
    const auto reason = [&](const std::string& before) {
        const auto parsed = parse_table_content(before);
        return parsed ? compare_contents(*parsed, table.look, truncates_are_sent(table.published))
                      : std::string();
    };
    table.source.other_rows = reason(contents.visible);
    table.source.other_rows_in_copy = reason(contents.copy);
    table.source.attempt_visible = contents.attempt_visible;
    table.source.attempt_in_copy = contents.attempt_in_copy;
    return contents;
}

void CatalogWatch::heed(const TableState& state, CatalogLook::Table& table) {
    const TableId id = state.table;
    const std::string name = table.published.schema + "." + table.published.name;
    const TableRegistry::Contents contents = compare_rows(id, table);
    // Where the store could not be written the next look tries again.
    parts_.tables.rename(id, table.published.schema, table.published.name).ignore();
    if (state.membership != table.membership) {
        parts_.log.warn("a table is published in another way: it is copied again",
                        {{"table", name}});
        const Error why(ErrorCode::aborted, "its place in the publication has changed");
        // At once: what the stream sends of it now may be less or more than its rows.
        if (parts_.tables.rejoin(id, table.membership, why.message())) {
            parts_.inbox.put(input::Stop{id, true, why});
        }
        return;
    }
    if (!table.published.problem.empty()) {
        if (state.phase == TablePhase::ready) {
            parts_.inbox.put(input::Stop{
                id, false, Error(ErrorCode::schema_mismatch, name + ": " + table.problem)});
        }
        return;
    }
    const std::string content = to_string(table.look.content);
    if (!table.source.other_rows.empty()) {
        if (state.phase == TablePhase::ready &&
            parts_.config.schema_change_policy == SchemaChangePolicy::stop) {
            parts_.inbox.put(input::Stop{
                id, false,
                Error(ErrorCode::schema_mismatch,
                      fmt::format("rows of {} changed without changes in the stream: {}", name,
                                  table.source.other_rows))});
        } else if (state.phase == TablePhase::ready) {
            parts_.log.warn("rows changed without changes in the stream: the table is copied again",
                            {{"table", name}, {"reason", table.source.other_rows}});
            parts_.tables.request_copy(id, table.source.other_rows).ignore();
        }
    } else if (state.phase == TablePhase::ready && contents.visible != content) {
        parts_.tables.set_content(id, content).ignore();
    }
    // A copy that was published meanwhile may be older than what was told before.
    Told& told = told_[id];
    const bool is_ready = state.phase == TablePhase::ready;
    const std::string key = key_of(table);
    if (told.key == key && told.attempt == state.attempt && told.was_ready && is_ready) return;
    if (table.source.schema == nullptr) return;
    told = {key, state.attempt, is_ready};
    parts_.inbox.put(input::Changed{id, table.source, table.partitions(), look_.position});
}

void CatalogWatch::answer(const CatalogQuestion& question) {
    input::Described described;
    described.request = question.request;
    described.position = look_.position;
    for (const auto& [id, table] : look_.tables) {
        const auto& physical = table.published.physical;
        const bool is_partition =
            std::any_of(physical.begin(), physical.end(),
                        [&](const auto& part) { return part.id.oid == question.relation; });
        if (id.oid != question.relation && !is_partition) continue;
        described.table = id;
        described.now = table.source;
        described.partitions = table.partitions();
        break;
    }
    parts_.inbox.put(std::move(described));
}

}  // namespace walbrook
