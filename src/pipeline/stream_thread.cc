#include "pipeline/stream_thread.h"

#include "base/backoff.h"
#include "base/check.h"
#include "base/failpoints.h"
#include "pipeline/catalog_watch.h"
#include "pipeline/error_policy.h"
#include "pipeline/slot_check.h"
#include "pipeline/stopped_tables.h"
#include "postgres/slots.h"
#include "source/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <poll.h>
#include <utility>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Well under half of the smallest wal_sender_timeout that people set (10 s); a third of one that
// is smaller still. While reading pauses nobody sees that the server asks for an answer.
constexpr milliseconds kStatusInterval{3000};
constexpr milliseconds kStatusIntervalMin{50};
// While nothing changes the position that the source may forget moves at this pace: each
// move is a write to the store first.
constexpr milliseconds kIdleConfirmInterval{1000};
// While something waits for the stream to pass a position, the server is asked for its
// own: on an idle source it would say nothing.
constexpr milliseconds kAskInterval{100};
constexpr milliseconds kTick{10};
constexpr milliseconds kHeldReportInterval{100};
constexpr milliseconds kIdleTick{500};
constexpr int kFramesPerRound = 2048;
constexpr std::string_view kUndefinedObject = "42704";
constexpr seconds kConnectDeadline{30};
constexpr milliseconds kReconnectPauseMax{10'000};
constexpr seconds kLastLookDeadline{5};
// Of phases: what waits behind another table's trouble waits no longer than this.
constexpr milliseconds kPhasesPauseMax{1000};
// A server that has nothing to say answers when it is asked. Twice its wal_sender_timeout is
// what it would give us, the least is what a loaded machine may need for an answer.
constexpr seconds kSilenceMin{10};
constexpr seconds kSilenceMax{120};

}  // namespace

StreamThread::StreamThread(Parts& parts, StreamSettings settings)
    : parts_(parts),
      settings_(std::move(settings)),
      core_(settings_.core, settings_.ready),
      versions_(parts_.store, parts_.log),
      phases_patience_(parts_.log, "a table's phase", kPhasesPauseMax),
      removals_patience_(parts_.log, "that a table is no longer published"),
      positions_patience_(parts_.log, "a position"),
      silence_max_(settings_.wal_sender_timeout.count() == 0
                       ? milliseconds(kSilenceMax)
                       : std::clamp<milliseconds>(2 * settings_.wal_sender_timeout, kSilenceMin,
                                                  kSilenceMax)),
      status_interval_(settings_.wal_sender_timeout.count() == 0
                           ? kStatusInterval
                           : std::clamp<milliseconds>(settings_.wal_sender_timeout / 3,
                                                      kStatusIntervalMin, kStatusInterval)),
      confirmed_(settings_.core.position),
      confirm_bound_(settings_.core.position),
      lineage_(settings_.lineage) {}

StreamThread::~StreamThread() {
    stop();
    join();
}

void StreamThread::start() {
    thread_ = std::jthread([this] { work(); });
}

void StreamThread::drain() {
    draining_ = true;
    parts_.inbox.wake();
}

void StreamThread::want(Lsn position) {
    std::uint64_t before = wanted_.load();
    while (before < position.value && !wanted_.compare_exchange_weak(before, position.value)) {
    }
}

void StreamThread::stop() {
    stop_.request_stop();
    parts_.inbox.wake();
}

void StreamThread::join() {
    if (thread_.joinable()) thread_.join();
}

void StreamThread::on_flush_done(FlushOutcome outcome) {
    if (!outcome.status) {
        if (outcome.status.error().code() != ErrorCode::cancelled) {
            parts_.fail(outcome.status.error());
        }
        return;
    }
    for (const auto& [table, changes] : outcome.applied) parts_.tables.add_changes(table, changes);
    parts_.inbox.put(input::Acked{std::move(outcome.refused)});
}

void StreamThread::work() {
    Backoff backoff({milliseconds(100), kReconnectPauseMax});
    const std::stop_token stop = stop_.get_token();
    while (!stop.stop_requested()) {
        End end = End::reconnect;
        Status status = connect();
        const bool is_connected = status.ok();
        if (status) {
            counters_.state = "streaming";
            set_trouble({});
            const Instant began = now();
            const Lsn before = core_.received();
            status = stream(end);
            // A server may take each connection, answer, and end it at the same change again.
            const bool went_on = core_.received() > before || now() - began > kReconnectPauseMax;
            if (went_on) backoff.reset();
        }
        stream_.reset();
        if (failed_) return parts_.fail(*failed_);
        if (end != End::reconnect || stop.stop_requested()) break;
        step(input::Disconnected{});
        if (failed_) return parts_.fail(*failed_);
        if (!status) {
            if (std::exchange(wants_new_stream_, false)) continue;
            misses_publication_ = is_connected && status.error().sqlstate() == kUndefinedObject;
            if (!misses_publication_ && reaction_to(status.error().code()) == Reaction::stop) {
                return parts_.fail(std::move(status).error());
            }
            counters_.state = "reconnecting";
            set_trouble(status.error().message());
            parts_.log.failed(LogLevel::warn, "the replication stream broke; connecting again",
                              status.error());
        }
        // Whoever drains waits for what is here, not for the source.
        if (draining_ && is_drained()) break;
        const Instant until = now() + backoff.next();
        while (now() < until && !stop.stop_requested()) {
            take_inputs();
            // What has been received becomes visible without the source.
            tick();
            if (failed_) return parts_.fail(*failed_);
            update_counters();
            wait_for_work();
            if (draining_ && is_drained()) break;
            if (jumps_to_publication()) break;
        }
    }
    note_promotion();
    counters_.state = "stopped";
}

Result<StreamThread::Server> StreamThread::open(const Deadline& deadline) const {
    Purpose purpose;
    purpose.application_name = application_name(parts_.config.id, "stream");
    purpose.replication = true;
    WALBROOK_TRY(Connection connection,
                 Connection::open(parts_.config.pg_connection, purpose, deadline));
    // Before its timeline is asked for: the one of a primary stays.
    WALBROOK_TRY(const Rows rows, connection.query(deadline,
                                                   "select pg_postmaster_start_time(),"
                                                   " pg_is_in_recovery()"));
    WALBROOK_TRY(const SystemIdentity system, identify_system(connection, deadline));
    WALBROOK_TRY(const Lsn begin, read_timeline_begin(connection, deadline, system.timeline));
    return Server{std::move(connection),
                  system,
                  {system.timeline, begin},
                  std::string(rows.text(0, 0)),
                  rows.text(0, 1) == "t"};
}

Status StreamThread::connect() {
    const Deadline deadline = within(kConnectDeadline, stop_.get_token());
    const std::uint64_t turns = parts_.watch.turns();
    WALBROOK_TRY(Server server, open(deadline));
    const SystemIdentity& system = server.system;
    if (system.system_identifier != lineage_.system_identifier) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("the server is another database system than at the start ({} "
                                 "instead of {}); point pg_connection at the right one",
                                 system.system_identifier, lineage_.system_identifier));
    }
    WALBROOK_TRY(const Lsn shared_until, shared_log(server, deadline));
    const bool is_new = !is_same(timeline_of(lineage_), server.timeline);
    if (is_new && !was_promoted_under_us(server)) {
        step(input::TimelineChanged{});
        confirmed_ = std::min(confirmed_, core_.received());
    }
    if (core_.received() > system.position && server.is_standby) {
        return Error(ErrorCode::unavailable,
                     fmt::format("the standby has received up to {}, and its stream had sent up "
                                 "to {} before: waiting until it is there again",
                                 to_string(system.position), to_string(core_.received())));
    }
    if (core_.received() > system.position) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("the source's log ends at {}, before {} that was received: "
                                 "transactions are in the destination that this server never "
                                 "had; remove the pipeline's records to copy all tables again",
                                 to_string(system.position), to_string(core_.received())));
    }
    StreamOptions options;
    options.slot = parts_.config.slot_name();
    options.publication = parts_.config.publication_name;
    options.start = core_.received();
    options.binary = settings_.binary;
    auto started = ReplicationStream::start(std::move(server.connection), options, deadline);
    // It says best why the server refuses a slot, and once that is ours nobody can change it.
    const Status slot = check_slot(parts_.config, std::min(confirm_bound_, shared_until), deadline);
    if (!slot && (started || slot.error().code() == ErrorCode::missing_slot)) return slot;
    if (!started) return std::move(started).error();
    // Before anything of it is received: the next start asks whether its server continues it. And
    // only now: the server before may be the one to go on with.
    if (is_new) WALBROOK_RETURN_IF_ERROR(save_timeline(server.timeline, shared_until));
    stream_ = *std::move(started);
    server_start_ = server.start;
    at_standby_ = server.is_standby;
    turns_ = turns;
    shutdowns_ = parts_.watch.shutdowns();
    heard_ = now();
    parts_.log.info("streaming", {{"slot", options.slot}, {"from", options.start}});
    return send_status(false);
}

// A standby that was promoted under our stream, or whose primary was another one's standby, has all
// that it sent us.
bool StreamThread::was_promoted_under_us(const Server& server) const {
    return at_standby_ && server.start == server_start_;
}

Result<Lsn> StreamThread::shared_log(Server& server, const Deadline& deadline) const {
    if (was_promoted_under_us(server)) return kLsnMax;
    return check_timeline(server.connection, deadline, timeline_of(lineage_), server.timeline,
                          core_.continues_from());
}

Status StreamThread::save_timeline(const Timeline& timeline, Lsn shared_until) {
    parts_.log.info("the server is on a new timeline",
                    {{"timeline", timeline.number}, {"before", lineage_.timeline}});
    Lineage next = lineage_;
    next.timeline = timeline.number;
    next.timeline_begin = timeline.begin;
    WALBROOK_RETURN_IF_ERROR(
        parts_.store.with([&](Store& store) { return store.save_lineage(next, shared_until); }));
    lineage_ = next;
    confirm_bound_ = std::min(confirm_bound_, shared_until);
    return {};
}

// A standby may have been promoted since the catalog was last looked at. The next start must not
// take what it sent since then for another server's.
void StreamThread::note_promotion() {
    if (!at_standby_) return;
    const Deadline deadline = within(kLastLookDeadline);
    auto server = open(deadline);
    if (!server || server->system.system_identifier != lineage_.system_identifier ||
        is_same(timeline_of(lineage_), server->timeline) || !was_promoted_under_us(*server)) {
        return;
    }
    if (Status status = save_timeline(server->timeline, kLsnMax); !status) {
        parts_.log.failed(LogLevel::warn, "the server's new timeline could not be stored",
                          status.error());
    }
}

void StreamThread::set_trouble(std::string text) {
    const std::lock_guard lock(trouble_mutex_);
    trouble_ = std::move(text);
}

std::string StreamThread::trouble() const {
    const std::lock_guard lock(trouble_mutex_);
    return trouble_;
}

std::vector<std::string> StreamThread::lesser_store_troubles() const {
    std::vector<std::string> troubles;
    for (const StorePatience* patience :
         {&phases_patience_, &removals_patience_, &positions_patience_}) {
        if (std::string text = patience->trouble(); !text.empty()) {
            troubles.push_back(std::move(text));
        }
    }
    return troubles;
}

Status StreamThread::stream(End& end) {
    while (!stop_.stop_requested()) {
        take_inputs();
        if (draining_ && !cut_for_drain_) {
            // What has no commit yet will come again.
            cut_for_drain_ = true;
            step(input::Disconnected{});
        }
        if (!draining_ && wants_frames()) {
            WALBROOK_RETURN_IF_ERROR(read_frames());
        } else {
            heard_ = now();
        }
        WALBROOK_RETURN_IF_ERROR(watch_silence());
        tick();
        if (failed_) return {};
        if (wants_new_stream_)
            return Error(ErrorCode::aborted, "connecting again, as was asked for");
        // Its log goes on, on a timeline that the store is to know.
        if (at_standby_ && parts_.watch.turns() != turns_) {
            return Error(ErrorCode::aborted,
                         "the standby was promoted, or follows another timeline: connecting again");
        }
        // Its walsenders wait until all is confirmed, however long the destination is away.
        if (parts_.watch.shutdowns() != shutdowns_) {
            return Error(ErrorCode::unavailable,
                         "the server shuts down and waits for what is not durable yet, which it "
                         "will send again: connecting again");
        }
        WALBROOK_RETURN_IF_ERROR(confirm());
        update_counters();
        if (draining_ && is_drained()) {
            end = End::drained;
            return send_status(false);
        }
        if (!core_.is_busy()) wait_for_work();
    }
    end = End::stopped;
    return {};
}

bool StreamThread::wants_frames() const {
    return core_.wants_frames() && versions_.empty() && !wants_new_stream_;
}

// The server cannot send what lies between the end of a publication and its new beginning (14
// to 17: "publication does not exist"; 18 leaves it out): every table is copied again.
bool StreamThread::jumps_to_publication() {
    if (!misses_publication_) return false;
    const auto position = parts_.watch.position_with_publication();
    if (!position) return false;
    misses_publication_ = false;
    step(input::Jump{*position, "the publication was dropped and created again"});
    return true;
}

bool StreamThread::is_drained() const {
    // What has no commit yet, and what is held for a copy, comes again.
    return !core_.is_busy() && core_.has_nothing_to_flush();
}

Status StreamThread::read_frames() {
    for (int i = 0; i < kFramesPerRound && wants_frames(); ++i) {
        WALBROOK_TRY(const StreamEvent event, stream_->next());
        if (event.kind != StreamEvent::Kind::none) heard_ = now();
        switch (event.kind) {
            case StreamEvent::Kind::none:
                return {};
            case StreamEvent::Kind::frame:
                frames_came_ = true;
                step(input::Frame{event.payload});
                break;
            case StreamEvent::Kind::keepalive:
                server_end_ = std::max(server_end_, event.wal_end);
                reply_due_ = reply_due_ || event.reply_requested;
                step(input::Keepalive{event.wal_end});
                break;
        }
        if (failed_) return {};
    }
    return {};
}

void StreamThread::take_inputs() {
    settle_stopped();
    settle_forgotten();
    store_versions();
    const MemoryState memory = parts_.memory.state();
    if (std::exchange(memory_told_, memory) != memory) step(input::Memory{memory});
    for (CoreInput& input : parts_.inbox.take_all()) {
        // An acknowledgement never waits behind a hold: the transaction whose end the
        // hold waits for may itself wait for the flush in flight.
        if (std::holds_alternative<input::Acked>(input) ||
            std::holds_alternative<input::Described>(input)) {
            step(input);
        } else {
            waiting_.push_back(std::move(input));
        }
    }
    while (!waiting_.empty()) {
        CoreInput& input = waiting_.front();
        // A hold begins between transactions: half of one would be neither held nor copied.
        if (std::holds_alternative<input::Hold>(input) && !core_.is_at_boundary()) return;
        step(input);
        waiting_.pop_front();
    }
}

void StreamThread::tick() {
    // What would be written waits for the versions.
    if (versions_.empty()) step(input::Tick{now()});
}

void StreamThread::step(const CoreInput& input) {
    // What it has asked for is moot.
    if (std::holds_alternative<input::Disconnected>(input)) parts_.watch.withdraw();
    core_.step(input, actions_);
    for (CoreAction& action : actions_) act(action);
    actions_.clear();
}

void StreamThread::act(CoreAction& any) {
    if (auto* flush = std::get_if<action::SubmitFlush>(&any)) {
        flushes_.push_back(std::move(*flush));
        store_versions();
    } else if (const auto* holding = std::get_if<action::Holding>(&any)) {
        parts_.copy_events.tell_holding(holding->table, holding->copy);
    } else if (const auto* published = std::get_if<action::Published>(&any)) {
        parts_.copy_events.tell_published(published->table, published->copy);
    } else if (const auto* lost = std::get_if<action::CopyLost>(&any)) {
        if (lost->in_one_snapshot) parts_.tables.lose_ranges(lost->table, true);
        parts_.copy_events.tell(lost->table, Error(ErrorCode::aborted, lost->reason));
    } else if (auto* stopped = std::get_if<action::TableStopped>(&any)) {
        const bool is_asked_for = stopped->error.code() == ErrorCode::aborted;
        parts_.log.failed(is_asked_for ? LogLevel::warn : LogLevel::error,
                          "a table stopped; the others go on", stopped->error,
                          {{"copy_again", stopped->copy_again}});
        stopped_.push_back(std::move(*stopped));
        settle_stopped();
    } else if (const auto* describe = std::get_if<action::Describe>(&any)) {
        parts_.watch.ask(describe->request, describe->relation, describe->xid);
    } else if (std::holds_alternative<action::Look>(any)) {
        parts_.watch.look_soon();
    } else if (const auto* version = std::get_if<action::NewVersion>(&any)) {
        versions_.add(*version);
        store_versions();
    } else if (std::holds_alternative<action::NeedText>(any)) {
        settings_.binary = false;
        wants_new_stream_ = true;
    } else if (std::holds_alternative<action::NeedNewStream>(any)) {
        wants_new_stream_ = true;
    } else if (const auto* forgotten = std::get_if<action::Forgotten>(&any)) {
        forgotten_.push_back(forgotten->table);
        settle_forgotten();
    } else if (auto* reached = std::get_if<action::CutReached>(&any)) {
        parts_.cuts.reached(reached->at, {reached->position, std::move(reached->unrepaired)});
    } else if (auto* lost_cut = std::get_if<action::CutLost>(&any)) {
        parts_.cuts.lost(std::move(lost_cut->reason));
    } else if (auto* fail = std::get_if<action::Fail>(&any)) {
        failed_ = std::move(fail->error);
    }
}

void StreamThread::settle_stopped() {
    if (!phases_patience_.is_due(now())) return;
    Status stored;
    std::erase_if(stopped_, [&](const action::TableStopped& stopped) {
        const Result<bool> settled = walbrook::settle_stopped(
            stopped, parts_.config.schema_change_policy, parts_.copy_events, parts_.tables);
        if (!settled) stored = settled.error();
        return settled && *settled;
    });
    note_store(phases_patience_, stored);
}

// A table that was removed from the publication: the store forgets it, too.
void StreamThread::settle_forgotten() {
    if (forgotten_.empty() || !removals_patience_.is_due(now())) return;
    Status stored;
    std::erase_if(forgotten_, [&](TableId table) {
        Status removed = parts_.tables.remove(table);
        const bool is_gone = removed.ok();
        if (!is_gone) stored = std::move(removed);
        return is_gone;
    });
    note_store(removals_patience_, stored);
}

void StreamThread::note_store(StorePatience& patience, const Status& status) {
    if (Status noted = patience.note(status, now()); !noted) failed_ = std::move(noted).error();
}

// Versions are stored before rows that need them are submitted: until then nothing is read, and
// what is ready to be written waits.
void StreamThread::store_versions() {
    auto refused = versions_.store(core_.durable(), now());
    if (!refused) {
        failed_ = std::move(refused).error();
        return;
    }
    // Not here: the core may be in the middle of a step. What it submits of them until it hears of
    // this is right all the same, and nobody asks for the version of a table that is errored.
    for (auto& [table, error] : *refused) {
        parts_.inbox.put(input::Stop{table, false, std::move(error)});
    }
    if (!versions_.empty()) return;
    for (action::SubmitFlush& each : std::exchange(flushes_, {})) {
        parts_.writer.submit(std::move(each.flush), each.kind);
    }
}

// Tells Postgres what it may forget: at once after a durable flush, at leisure while
// nothing happens. The store knows the bound before Postgres does.
Status StreamThread::confirm() {
    const Instant at = now();
    const Lsn target = core_.confirmable();
    if (target > confirm_bound_) {
        if (target == core_.durable()) {
            confirm_bound_ = target;  // The writer has stored it.
            note_store(positions_patience_, {});
        } else if (at - last_idle_bound_ >= kIdleConfirmInterval) {
            last_idle_bound_ = at;
            const auto stored =
                parts_.store.with([&](Store& store) { return store.advance({Lsn{}, target}); });
            note_store(positions_patience_, stored.status());
            if (stored) confirm_bound_ = stored->confirm_bound;
        }
    }
    const Lsn next = std::min(target, confirm_bound_);
    const bool news = next > confirmed_;
    const bool is_silent = at - heard_ > silence_max_ / 2;
    const milliseconds pause = std::min(kIdleConfirmInterval, status_interval_);
    const bool asks = (is_silent && at - last_status_ >= pause) ||
                      (waits_for_position() && at - last_status_ >= kAskInterval);
    if (!news && !reply_due_ && !asks && at - last_status_ < status_interval_) return {};
    WALBROOK_FAILPOINT("confirm.before_send");
    confirmed_ = std::max(confirmed_, next);
    WALBROOK_RETURN_IF_ERROR(send_status(asks));
    return news ? failpoint("confirm.after_send") : Status();
}

// TCP notices a peer that is gone, but not a proxy that lives on before a server that hangs.
Status StreamThread::watch_silence() {
    const auto silence = now() - heard_;
    if (silence < silence_max_) return {};
    // A server may be silent while it decodes what it does not send: it gets longer each time.
    silence_max_ *= 2;
    return Error(ErrorCode::unavailable,
                 fmt::format("the server has said nothing for {} s, though it was asked to; is "
                             "there a proxy that lost it?",
                             std::chrono::duration_cast<seconds>(silence).count()));
}

bool StreamThread::waits_for_position() const {
    return core_.wanted() > core_.received() || Lsn{wanted_.load()} > core_.received();
}

Status StreamThread::send_status(bool ask_reply) {
    last_status_ = now();
    reply_due_ = false;
    return stream_->send_status(std::max(core_.received(), confirmed_), confirmed_, ask_reply);
}

void StreamThread::wait_for_work() {
    const bool reads = stream_ && !draining_ && wants_frames();
    if (reads && stream_->may_have_more()) return;
    std::array<pollfd, 2> fds{};
    fds[0] = {parts_.inbox.fd(), POLLIN, 0};
    fds[1] = {reads ? stream_->fd() : -1, POLLIN, 0};
    // A walsender sends each change by itself. While they come we let some of them gather
    // for a moment, which is nothing beside the time that a batch may fill.
    const bool gathers = reads && std::exchange(frames_came_, false);
    if (reads) stream_->expect_much(gathers);
    const milliseconds limit = gathers ? milliseconds(LargeReads::kPatienceMs)
                               : !core_.has_nothing_to_flush() ? kTick
                               : waits_for_position()          ? kAskInterval
                                                               : kIdleTick;
    // A failed poll only means that we look again sooner.
    (void)poll(fds.data(), fds.size(), static_cast<int>(limit.count()));
}

void StreamThread::update_counters() {
    counters_.received = core_.received().value;
    counters_.durable = core_.confirmable().value;
    counters_.confirmed = confirmed_.value;
    counters_.source_end = std::max(server_end_, core_.received()).value;
    counters_.changes = core_.changes_received();
    counters_.transactions = core_.transactions_received();
    counters_.memory_bytes = core_.memory_bytes();
    counters_.oldest_waiting_us = core_.oldest_waiting_commit_us();
    counters_.idle = core_.is_idle();
    show_holds();
}

void StreamThread::show_holds() {
    const Instant at = now();
    if (at - last_held_report_ < kHeldReportInterval) return;
    last_held_report_ = at;
    const auto held = core_.held_bytes();
    if (held.empty() && !holds_shown_) return;
    parts_.tables.set_held(held);
    holds_shown_ = !held.empty();
}

}  // namespace walbrook
