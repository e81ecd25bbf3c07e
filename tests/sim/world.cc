#include "sim/world.h"

#include "walbrook/testing/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <map>
#include <utility>

namespace walbrook::sim {
namespace {

constexpr int kSettleRoundsMax = 2000;

const PipelineIdentity& identity() {
    static const PipelineIdentity who{1, "7000000000000000000", "shop", 5, "walbrook_1", "", 0};
    return who;
}

std::int64_t number(const std::optional<std::string>& text) {
    std::int64_t value = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), value);
    return value;
}

std::string print(const std::vector<MemoryDestination::Row>& rows) {
    std::string out;
    for (const auto& row : rows) {
        out += "\n   ";
        for (const auto& value : row) out += " " + value.value_or("NULL");
    }
    return out;
}

}  // namespace

void Coverage::add(const Coverage& other) {
    transactions += other.transactions;
    flushes += other.flushes;
    slices += other.slices;
    published += other.published;
    published_in_ranges += other.published_in_ranges;
    moves_lost += other.moves_lost;
    copies_lost += other.copies_lost;
    tables_stopped += other.tables_stopped;
    refused += other.refused;
    crashes += other.crashes;
    disconnects += other.disconnects;
    streamed += other.streamed;
    stream_aborts += other.stream_aborts;
    truncates += other.truncates;
    cuts += other.cuts;
    cuts_lost += other.cuts_lost;
    repaired_rows += other.repaired_rows;
}

struct World::Process {
    Process(World& world, Lsn start, std::vector<ReadyTable> ready, CoreOptions options,
            std::unique_ptr<MemoryDestination> to)
        : destination(std::move(to)),
          writer(world.random_, *destination, world.view_, start, world.options_.bug),
          copier(world.random_, *world.source_, *destination, writer, inbox, world.registry_,
                 world.options_.bug) {
        writer.is_copy_gone = [this](TableId table) { return copier.is_copy_gone(table); };
        options.position = start;
        received = durable = start;
        core = std::make_unique<ApplyCore>(std::move(options), std::move(ready));
    }
    std::unique_ptr<MemoryDestination> destination;
    std::deque<CoreInput> inbox;
    std::optional<action::Describe> question;  // To the catalog.
    std::uint64_t looks = 0;                   // At the catalog.
    Writer writer;
    Copier copier;
    std::unique_ptr<ApplyCore> core;
    Lsn received;
    Lsn durable;
};

World::World(const WorldOptions& options) : options_(options), random_(options.seed) {
    choose_rates();
    lake_ = MemoryDestination::make_lake();
}

World::~World() = default;

template <class... Args>
void World::trace(fmt::format_string<Args...> format, Args&&... args) {
    if (!options_.trace) return;
    fmt::print(stderr, "{:>7} ", now_ms_);
    fmt::print(stderr, format, std::forward<Args>(args)...);
    fmt::print(stderr, "\n");
}

// Small limits, so that each is reached; some runs without faults, so that a fault does
// not hide what would go wrong without it.
void World::choose_rates() {
    core_options_.max_fill = std::chrono::milliseconds(random_.below(200));
    core_options_.flush_bytes = random_.between(300, 6000);
    core_options_.pending_bytes_max = random_.between(1500, 10'000);
    core_options_.slice_bytes = random_.between(300, 4000);
    core_options_.held_bytes_max = random_.percent(15) ? random_.between(3000, 9000) : 1ULL << 30;
    core_options_.spill.directory = options_.spill_directory;
    core_options_.spill.memory_bytes_max =
        random_.percent(60) ? random_.between(400, 4000) : 1ULL << 20;
    core_options_.spill.chunk_bytes = random_.between(100, 2000);
    core_options_.waiting_bytes_max = random_.percent(60) ? random_.between(400, 8000) : 1ULL << 20;
    if (random_.percent(40)) rates_.memory_per_mille = random_.between(5, 60);

    SourceOptions source;
    source.clients = random_.between(2, 7);
    source.ledger_identity = random_.percent(50)   ? ReplicaIdentity::default_key
                             : random_.percent(50) ? ReplicaIdentity::full
                                                   : ReplicaIdentity::nothing;
    // Around the turn of the 32-bit xid, too.
    source.first_xid = random_.percent(50) ? 700 : 0x3'0000'0000ULL - random_.between(1, 300);
    source.truncate_per_mille = random_.percent(50) ? 15 : 0;
    source.alter_per_mille = random_.percent(40) ? 8 : 0;
    source.large_per_mille = random_.percent(70) ? 80 : 0;
    source.window_percent = random_.below(80);
    source.has_huge = random_.percent(3);
    walsender_options_.is_binary = random_.percent(50);
    walsender_options_.sends_empty_transactions = random_.percent(50);
    walsender_options_.streams = random_.percent(80);

    rates_.source_weight = random_.between(5, 50);
    rates_.deliver_weight = random_.between(5, 50);
    rates_.writer_weight = random_.between(3, 30);
    if (random_.percent(50)) rates_.cut_weight = random_.between(1, 6);
    if (random_.percent(60)) rates_.crash_per_mille = random_.between(1, 8);
    if (random_.percent(60)) rates_.disconnect_per_mille = random_.between(1, 20);
    if (random_.percent(30)) rates_.give_up_per_mille = random_.between(1, 30);
    if (random_.percent(50)) rates_.writer.unavailable_per_mille = random_.between(50, 500);
    if (random_.percent(40)) rates_.writer.lost_answer_per_mille = random_.between(5, 60);
    if (random_.percent(30)) rates_.writer.refusal_per_mille = random_.between(5, 30);
    if (random_.percent(20)) walsender_options_.unreadable_per_mille = random_.between(1, 12);

    source_.emplace(random_, source);
    const std::uint64_t head_start = random_.below(200);
    for (std::uint64_t i = 0; i < head_start; ++i) source_->step();
    // The slot is made here: everything before is known from copies alone. Its creation
    // waits for every transaction that runs.
    source_->settle();
    confirmed_ = source_->insert_position();
}

// ---------------------------------------------------------------- the process

void World::start() {
    auto destination = MemoryDestination::create(lake_);
    const auto recovered = destination->open(identity(), {});
    if (!recovered) throw Violation("open: " + recovered.error().message());
    if (recovered->position != view_.position) throw Violation("the lake lost its position");
    std::vector<ReadyTable> ready;
    std::array<bool, kTables> is_ready{};
    for (const RecoveredTable& table : recovered->tables) {
        const std::size_t index = Source::table_of(table.table.oid);
        if (view_.tables[index].phase != table.phase) throw Violation("the lake lost a phase");
        if (table.phase != TablePhase::ready) continue;
        is_ready[index] = true;
        ready.push_back({table.schema});
    }
    for (std::size_t t = 0; t < kTables; ++t) {
        registry_[t].phase = is_ready[t] ? TablePhase::ready : TablePhase::queued;
        registry_[t].not_before_ms = 0;
    }
    Lsn from = std::max(recovered->position, confirmed_);
    if (options_.bug == Bug::forgets_position) from = confirmed_;
    trace("start at {} (lake {}, slot {})", to_string(from), to_string(recovered->position),
          to_string(confirmed_));
    process_ = std::make_unique<Process>(*this, from, std::move(ready), core_options_,
                                         std::move(destination));
    memory_ = MemoryState::ample;
    is_paused_for_cut_ = false;
    cut_at_.reset();
}

void World::crash() {
    trace("crash");
    ++coverage_.crashes;
    walsender_.reset();
    process_.reset();
    start();
    check_lake();
}

void World::connect() {
    if (walsender_) return;
    // A client that asks for less than it has is answered from what it confirmed.
    const Lsn asked = random_.percent(75) ? process_->core->received() : Lsn{};
    const Lsn from = std::max(asked, confirmed_);
    trace("connect from {}", to_string(from));
    WalsenderOptions options = walsender_options_;
    if (!faults_) options.unreadable_per_mille = 0;
    walsender_ = std::make_unique<Walsender>(*source_, random_, options, from);
}

void World::disconnect() {
    if (!walsender_) return;
    trace("disconnect");
    ++coverage_.disconnects;
    walsender_.reset();
    feed(input::Disconnected{});
}

void World::deliver(std::uint64_t messages) {
    if (!walsender_) return;
    for (std::uint64_t i = 0; i < messages && process_->core->wants_frames(); ++i) {
        const auto message = walsender_->next();
        if (!message) return;
        if (message->frame.empty()) {
            trace("keepalive {}", to_string(message->wal_end));
            feed(input::Keepalive{message->wal_end});
            continue;
        }
        trace("frame {}", message->frame[0]);
        coverage_.transactions += message->frame[0] == 'C';
        coverage_.streamed += message->frame[0] == 'c';
        coverage_.stream_aborts += message->frame[0] == 'A';
        coverage_.truncates += message->frame[0] == 'T';
        feed(input::Frame{std::as_bytes(std::span(message->frame))});
    }
}

// As MemoryPressure moves: a pause ends in small steps or well.
void World::change_memory() {
    memory_ = memory_ == MemoryState::ample                           ? MemoryState::paused
              : memory_ == MemoryState::paused && random_.percent(50) ? MemoryState::scarce
                                                                      : MemoryState::ample;
    trace("memory is {}", name_of(memory_));
    feed(input::Memory{memory_});
}

void World::tick(std::int64_t ms) {
    now_ms_ += ms;
    feed(input::Tick{Instant(std::chrono::milliseconds(now_ms_))});
}

// A hold waits for the end of a transaction, and what came after it waits behind it;
// except the acknowledgement, without which the transaction might never end.
void World::take_inputs() {
    std::deque<CoreInput>& inbox = process_->inbox;
    const auto acked = std::find_if(inbox.begin(), inbox.end(), [](const CoreInput& input) {
        return std::holds_alternative<input::Acked>(input);
    });
    if (acked != inbox.end()) {
        const CoreInput input = std::move(*acked);
        inbox.erase(acked);
        feed(input);
    }
    answer_question();
    while (!inbox.empty()) {
        const bool is_hold = std::holds_alternative<input::Hold>(inbox.front());
        if (is_hold && !process_->core->is_at_boundary()) return;
        const CoreInput input = std::move(inbox.front());
        inbox.pop_front();
        feed(input);
    }
}

// The catalog may know more than the stream, never less: a commit is in the log before it can
// be seen.
void World::answer_question() {
    if (!process_->question) return;
    const Source::Snapshot snapshot = source_->take_snapshot();
    const auto xids = SnapshotXids::parse(snapshot.text);
    if (!xids || !xids->visible(process_->question->xid)) return;
    input::Described answer;
    answer.request = process_->question->request;
    answer.table = TableId{process_->question->relation};
    answer.now.schema = source_->schema_now(Source::table_of(process_->question->relation));
    answer.now.seen = ++process_->looks;
    process_->question.reset();
    feed(answer);
}

void World::write() {
    switch (process_->writer.step(faults_ ? rates_.writer : WriterFaults{})) {
        case Writer::Step::nothing:
            return;
        case Writer::Step::landed:
            trace("landed up to {}", to_string(view_.position));
            ++coverage_.flushes;
            return check_lake();
        case Writer::Step::done: {
            auto refused = process_->writer.take_refused();
            coverage_.refused += refused.size();
            process_->inbox.push_back(input::Acked{std::move(refused)});
            return;
        }
        case Writer::Step::must_restart:
            trace("outcome unknown");
            return crash();
    }
}

void World::confirm() {
    if (!walsender_) return;
    Lsn target = process_->core->confirmable();
    if (options_.bug == Bug::confirms_too_early) target = process_->core->received();
    if (target <= confirmed_) return;
    trace("confirm {}", to_string(target));
    confirmed_ = target;
    check_confirmed();
}

// The position that a new slot names, which is never behind what was sent.
void World::ask_for_cut() {
    if (cut_at_) return;
    if (!is_paused_for_cut_) {
        is_paused_for_cut_ = true;
        const auto until = std::chrono::milliseconds(now_ms_ + random_.between(1, 400));
        return feed(input::Pause{Instant(until)});
    }
    is_paused_for_cut_ = false;
    cut_at_ = source_->insert_position();
    trace("cut at {}", to_string(*cut_at_));
    const std::uint64_t too_late = options_.bug == Bug::cuts_too_late ? 1000 : 0;
    feed(input::Cut{Lsn{cut_at_->value + too_late}, some_repairs(*cut_at_)});
}

// Of rows that are right already: whoever writes them at another position than the cut's undoes
// what came later, or doubles what came before.
std::vector<Replace> World::some_repairs(Lsn cut) {
    std::vector<Replace> repairs;
    if (!random_.percent(50)) return repairs;
    const Source::Snapshot snapshot = source_->take_snapshot();
    for (std::size_t t = 0; t < kTables; ++t) {
        const TableSchemaPtr schema = source_->schema_seen_by(snapshot, t);
        const std::vector<std::size_t> places = schema->key_columns();
        if (places.empty() || !random_.percent(60)) continue;
        const auto keys = std::make_shared<RowBatch>(schema);
        const auto rows = std::make_shared<RowBatch>(schema);
        for (const auto& [row, values] : rows_at(t, cut)) {
            if (values.size() != schema->columns.size()) break;
            if (!random_.percent(30)) continue;
            testing::append_text_row(*rows, values);
            Values key(values.size());
            for (const std::size_t place : places) key[place] = values[place];
            testing::append_text_row(*keys, key);
        }
        coverage_.repaired_rows += rows->rows();
        repairs.push_back({schema, keys, rows});
    }
    return repairs;
}

void World::feed(const CoreInput& input) {
    std::vector<CoreAction> actions;
    process_->core->step(input, actions);
    for (CoreAction& action : actions) act(action);
    check_positions();
}

void World::act(CoreAction& any) {
    Copier& copier = process_->copier;
    if (auto* flush = std::get_if<action::SubmitFlush>(&any)) {
        trace("submit {} up to {}", static_cast<int>(flush->kind),
              to_string(flush->flush->position()));
        coverage_.slices += flush->kind == FlushKind::slice;
        process_->writer.submit(std::move(flush->flush), flush->kind);
    } else if (const auto* holding = std::get_if<action::Holding>(&any)) {
        trace("holding {}", holding->table.oid);
        copier.on_holding(holding->table);
    } else if (const auto* published = std::get_if<action::Published>(&any)) {
        trace("published {}", published->table.oid);
        ++coverage_.published;
        const std::uint64_t before = copier.published_in_ranges();
        copier.on_published(published->table);
        coverage_.published_in_ranges += copier.published_in_ranges() - before;
    } else if (const auto* lost = std::get_if<action::CopyLost>(&any)) {
        trace("lost {}: {}", lost->table.oid, lost->reason);
        ++coverage_.copies_lost;
        coverage_.moves_lost += lost->in_one_snapshot;
        copier.on_lost(*lost, now_ms_);
    } else if (const auto* stopped = std::get_if<action::TableStopped>(&any)) {
        trace("stopped {}: {}", stopped->table.oid, stopped->error.message());
        ++coverage_.tables_stopped;
        const LakeTable& table = view_.tables[Source::table_of(stopped->table.oid)];
        // Where the record is in the lake already, both must name the same position.
        if (table.phase == TablePhase::errored && table.is_visible && !stopped->copy_again &&
            stopped->error.message().starts_with("refused") && stopped->position &&
            table.frozen_at != stopped->position) {
            throw Violation(fmt::format("table {} stands at {} but is said to stand at {}",
                                        stopped->table.oid, to_string(table.frozen_at),
                                        to_string(stopped->position)));
        }
        copier.on_stopped(*stopped, now_ms_);
    } else if (const auto* describe = std::get_if<action::Describe>(&any)) {
        process_->question = *describe;
    } else if (const auto* cut = std::get_if<action::CutReached>(&any)) {
        trace("cut reached: {}", to_string(cut->position));
        ++coverage_.cuts;
        check_cut(cut->position);
    } else if (std::holds_alternative<action::CutLost>(any)) {
        ++coverage_.cuts_lost;
        is_paused_for_cut_ = false;
        cut_at_.reset();
    } else if (const auto* fail = std::get_if<action::Fail>(&any)) {
        throw Violation("the core gives up: " + fail->error.message());
    }
}

// ---------------------------------------------------------------- the run

void World::run() {
    start();
    const std::uint64_t steps = random_.between(500, 6000);
    for (std::uint64_t i = 0; i < steps; ++i) step();
    source_->settle();
    faults_ = false;
    if (walsender_) disconnect();
    // Memory may stay short for ever, a pause may not.
    if (memory_ == MemoryState::paused) change_memory();
    settle();
}

void World::step() {
    const std::uint64_t fault = random_.below(1000);
    if (fault < rates_.crash_per_mille) return crash();
    if (fault < rates_.crash_per_mille + rates_.disconnect_per_mille) return disconnect();
    if (random_.below(1000) < rates_.memory_per_mille) return change_memory();
    const std::array<std::uint64_t, 8> weights{
        rates_.source_weight, rates_.deliver_weight, 15, rates_.writer_weight, 20, 10, 5,
        rates_.cut_weight};
    std::uint64_t sum = 0;
    for (const std::uint64_t weight : weights) sum += weight;
    std::uint64_t dice = random_.below(sum);
    std::size_t choice = 0;
    while (dice >= weights[choice]) dice -= weights[choice++];
    switch (choice) {
        case 0:
            return source_->step();
        case 1:
            if (!walsender_) return connect();
            return deliver(random_.between(1, 25));
        case 2:
            return tick(static_cast<std::int64_t>(random_.below(60)));
        case 3:
            return write();
        case 4:
            return process_->copier.step(random_.below(kTables), now_ms_, rates_.give_up_per_mille);
        case 5:
            return take_inputs();
        case 6:
            return confirm();
        default:
            return ask_for_cut();
    }
}

bool World::is_settled() const {
    for (std::size_t t = 0; t < kTables; ++t) {
        if (registry_[t].phase != TablePhase::ready || process_->copier.is_open(t)) return false;
        if (view_.tables[t].phase != TablePhase::ready) return false;
    }
    const ApplyCore& core = *process_->core;
    return core.is_idle() && process_->inbox.empty() && !walsender_->has_more() &&
           core.received() == source_->insert_position() &&
           confirmed_ == source_->insert_position();
}

// Without faults and new transactions everything must come to an end.
void World::settle() {
    trace("settling");
    for (int round = 0; round < kSettleRoundsMax; ++round) {
        connect();
        take_inputs();
        deliver(1'000'000);
        if (!walsender_->has_more()) feed(walsender_keepalive());
        tick(50);
        write();
        for (std::size_t t = 0; t < kTables; ++t) process_->copier.step(t, now_ms_, 0);
        confirm();
        if (!is_settled()) continue;
        check_lake();
        for (std::size_t t = 0; t < kTables; ++t) {
            check_table(t, rows_at(t, source_->insert_position()), source_->insert_position());
        }
        return;
    }
    std::string state;
    for (std::size_t t = 0; t < kTables; ++t) {
        state += fmt::format(" table {} {};", t, process_->copier.describe(t));
    }
    throw Violation(fmt::format("lag does not end: received {}, durable {}, source {};{}",
                                to_string(process_->core->received()),
                                to_string(process_->core->durable()),
                                to_string(source_->insert_position()), state));
}

CoreInput World::walsender_keepalive() const {
    return input::Keepalive{walsender_->keepalive().wal_end};
}

// ---------------------------------------------------------------- the auditor

Rows World::rows_at(std::size_t table, Lsn position) const {
    Rows rows;
    for (const std::size_t index : source_->commits()) {
        const Tx& tx = source_->txs()[index];
        if (tx.end_lsn > position) break;
        for (const Op& op : tx.ops) Source::apply(op, table, rows);
    }
    return rows;
}

std::vector<MemoryDestination::Row> World::lake_rows(std::size_t table) const {
    const TableSchemaPtr schema = source_->schema(table, 0);
    return process_->destination->read(schema->schema, schema->name)
        .value_or(std::vector<MemoryDestination::Row>());
}

// All tables that are ready stand at the position of the lake, the others where their
// record says.
void World::check_lake() {
    while (next_commit_ < source_->commits().size()) {
        const Tx& tx = source_->txs()[source_->commits()[next_commit_]];
        if (tx.end_lsn > view_.position) break;
        if (tx.commit_lsn >= last_cut_at_ && tx.end_lsn <= last_cut_) {
            throw Violation("a transaction behind a cut is said to be before it");
        }
        for (const Op& op : tx.ops) {
            for (std::size_t t = 0; t < kTables; ++t) Source::apply(op, t, rows_[t]);
        }
        ++next_commit_;
    }
    for (std::size_t t = 0; t < kTables; ++t) {
        const LakeTable& table = view_.tables[t];
        if (!table.is_visible) continue;
        if (table.phase == TablePhase::ready) {
            check_table(t, rows_[t], view_.position);
        } else {
            check_table(t, rows_at(t, table.frozen_at), table.frozen_at);
        }
    }
    check_bank();
}

void World::check_table(std::size_t table, const Rows& rows, Lsn position) {
    const std::vector<MemoryDestination::Row> lake = lake_rows(table);
    // A column that the stream has not shown yet is not compared.
    const std::size_t columns = lake.empty() ? 99 : lake.front().size();
    std::vector<MemoryDestination::Row> source;
    for (const auto& [row, values] : rows) {
        source.emplace_back(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(
                                                                 std::min(columns, values.size())));
    }
    std::sort(source.begin(), source.end());
    if (source == lake) return;
    throw Violation(fmt::format("table {} differs at {}: the source has{}\nthe lake has{}", table,
                                to_string(position), print(source), print(lake)));
}

// The lake has now what the source had at the cut.
void World::check_cut(Lsn position) {
    const Lsn cut = std::exchange(cut_at_, std::nullopt).value();
    if (position < cut) throw Violation("a cut was reached before it");
    for (std::size_t t = 0; t < kTables; ++t) {
        if (view_.tables[t].phase == TablePhase::ready) check_table(t, rows_at(t, cut), cut);
    }
    last_cut_at_ = cut;
    last_cut_ = position;
}

// Said once more in the words of a user, without the model of the rows.
void World::check_bank() {
    for (const std::size_t t : {kChecking, kSavings, kLedger}) {
        if (view_.tables[t].phase != TablePhase::ready) return;
    }
    std::int64_t sum = 0;
    for (const std::size_t t : {kChecking, kSavings}) {
        for (const auto& row : lake_rows(t)) sum += number(row[1]);
    }
    if (sum != kBankTotal) throw Violation(fmt::format("the bank holds {}", sum));
    std::map<std::int64_t, std::vector<std::int64_t>> entries;
    for (const auto& row : lake_rows(kLedger)) entries[number(row[0])].push_back(number(row[1]));
    for (auto& [client, numbers] : entries) {
        std::sort(numbers.begin(), numbers.end());
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            if (numbers[i] == static_cast<std::int64_t>(i) + 1) continue;
            throw Violation(fmt::format("the ledger of client {} has {} as its entry {}", client,
                                        numbers[i], i + 1));
        }
    }
}

// After a crash now, the stream would go on from here: nothing that a visible table
// lacks may lie before.
void World::check_confirmed() {
    const auto& commits = source_->commits();
    for (std::size_t i = next_commit_; i < commits.size(); ++i) {
        const Tx& tx = source_->txs()[commits[i]];
        if (tx.commit_lsn >= confirmed_) break;
        for (const Op& op : tx.ops) {
            std::vector<std::size_t> tables = op.tables;
            if (op.kind == OpKind::alter) continue;
            if (tables.empty()) tables.push_back(op.table);
            for (const std::size_t t : tables) {
                if (view_.tables[t].phase != TablePhase::ready) continue;
                throw Violation(fmt::format(
                    "{} is confirmed, but the lake stands at {} and table {} lacks {}",
                    to_string(confirmed_), to_string(view_.position), t, to_string(tx.end_lsn)));
            }
        }
    }
}

void World::check_positions() {
    Process& process = *process_;
    if (process.core->received() < process.received || process.core->durable() < process.durable) {
        throw Violation("a position went back");
    }
    if (process.core->durable() > std::max(view_.position, process.durable)) {
        throw Violation("the core calls durable what the lake does not have");
    }
    process.received = process.core->received();
    process.durable = process.core->durable();
}

}  // namespace walbrook::sim
