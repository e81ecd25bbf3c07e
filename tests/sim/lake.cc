#include "sim/lake.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace walbrook::sim {
namespace {

// What a call says that fails for now, with nothing done.
constexpr std::array kPassing{ErrorCode::unavailable, ErrorCode::timed_out, ErrorCode::throttled,
                              ErrorCode::aborted, ErrorCode::conflict};

Error planned(ErrorCode code) {
    return {code, fmt::format("{}the lake is {}", kPlanned, name_of(code))};
}

LakeTable& table_in(LakeView& view, const TableSchemaPtr& schema) {
    return view.tables[Source::table_of(schema->id.oid)];
}

// What an item does to versions and phases.
void note(const FlushItem& item, LakeView& view) {
    if (const auto* batch = std::get_if<ChangeBatch>(&item)) {
        if (batch->changes.empty()) return;
        LakeTable& table = table_in(view, batch->schema());
        (batch->copy ? table.shadow : table.schema) = batch->schema();
    } else if (const auto* change = std::get_if<SchemaChange>(&item)) {
        LakeTable& table = table_in(view, change->to);
        (change->copy ? table.shadow : table.schema) = change->to;
    } else if (const auto* truncate = std::get_if<Truncate>(&item)) {
        for (const TableSchemaPtr& schema : truncate->tables) {
            LakeTable& table = table_in(view, schema);
            (truncate->copy ? table.shadow : table.schema) = schema;
        }
    } else if (const auto* publish = std::get_if<Publish>(&item)) {
        LakeTable& table = table_in(view, publish->copy->schema);
        table = {TablePhase::ready, {}, true, table.shadow, nullptr};
    } else if (const auto* freeze = std::get_if<Freeze>(&item)) {
        LakeTable& table = table_in(view, freeze->schema);
        table.phase = freeze->phase;
        table.frozen_at = freeze->position;
    }
}

// Notes what a flush does, as the destination reads it.
class Watched final : public Flush {
 public:
    Watched(Flush& inner, LakeView& view) : inner_(inner), view_(view) {}
    Lsn position() const override { return inner_.position(); }
    std::int64_t commit_time_us() const override { return inner_.commit_time_us(); }
    void rewind() override { inner_.rewind(); }
    Result<const FlushItem*> next() override {
        WALBROOK_TRY(const FlushItem* item, inner_.next());
        if (item != nullptr) note(*item, view_);
        return item;
    }

 private:
    Flush& inner_;
    LakeView& view_;
};

}  // namespace

std::optional<FaultyLake::Mishap> FaultyLake::mishap(std::uint64_t& failed,
                                                     std::uint64_t& unanswered) {
    if (!random_.per_mille(faults_.call_per_mille)) return std::nullopt;
    const bool is_done = random_.percent(50);
    ++(is_done ? unanswered : failed);
    // One that may be done all the same says that nobody answers, or that it does not know.
    if (is_done || random_.percent(20)) {
        const bool is_silent = random_.percent(50);
        return Mishap{is_done,
                      planned(is_silent ? ErrorCode::unavailable : ErrorCode::unknown_outcome)};
    }
    return Mishap{is_done, planned(random_.pick(kPassing))};
}

Result<Recovered> FaultyLake::open(const PipelineIdentity& who, std::stop_token stop) {
    const auto mishap = this->mishap(coverage_.opens_failed, coverage_.opens_unanswered);
    if (mishap && !mishap->is_done) return mishap->error;
    auto recovered = inner_->open(who, std::move(stop));
    expect(recovered.status(), "open the lake");
    if (mishap) return mishap->error;
    return recovered;
}

Status FaultyLake::begin_copy(const CopyTargetPtr& copy, std::stop_token stop) {
    const auto mishap = this->mishap(coverage_.begins_failed, coverage_.begins_unanswered);
    if (mishap && !mishap->is_done) return mishap->error;
    table_in(view_, copy->schema).shadow = copy->schema;
    expect(inner_->begin_copy(copy, std::move(stop)), "begin a copy");
    return mishap ? Status(mishap->error) : Status();
}

// Written whole or not at all; where it fails half way, rows have been read.
Status FaultyLake::write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) {
    const auto mishap = this->mishap(coverage_.units_failed, coverage_.units_unanswered);
    if (mishap && !mishap->is_done) {
        if (random_.percent(50)) return mishap->error;
        const auto first = rows.next();
        coverage_.units_failed_half_way += first.status() && *first != nullptr;
        return mishap->error;
    }
    Status status = inner_->write_copy(unit, rows, std::move(stop));
    if (!status && !status.error().message().starts_with(kPlanned)) {
        throw Violation("write a copy: " + status.error().message());
    }
    if (status && mishap) return mishap->error;
    return status;
}

Status FaultyLake::finish_copy(const CopyTargetPtr& copy, std::stop_token stop) {
    const auto mishap = this->mishap(coverage_.finishes_failed, coverage_.finishes_unanswered);
    if (mishap && !mishap->is_done) return mishap->error;
    expect(inner_->finish_copy(copy, std::move(stop)), "finish a copy");
    return mishap ? Status(mishap->error) : Status();
}

Status FaultyLake::discard_copy(const CopyTargetPtr& copy, std::stop_token stop) {
    const auto mishap = this->mishap(coverage_.discards_failed, coverage_.discards_unanswered);
    if (mishap && !mishap->is_done) return mishap->error;
    expect(inner_->discard_copy(copy, std::move(stop)), "discard a copy");
    return mishap ? Status(mishap->error) : Status();
}

// Of any table, or of the one that is always refused.
std::optional<Error> FaultyLake::refuse_one(Flush& flush, bool is_any) {
    std::vector<std::size_t> tables;
    flush.rewind();
    for (;;) {
        const auto item = flush.next();
        if (!item) throw Violation("a flush cannot be read: " + item.error().message());
        if (*item == nullptr) break;
        const auto* const batch = std::get_if<ChangeBatch>(*item);
        const auto* const publish = std::get_if<Publish>(*item);
        if (batch == nullptr && publish == nullptr) continue;
        const TableId id = batch != nullptr ? batch->schema()->id : publish->copy->schema->id;
        const std::size_t table = Source::table_of(id.oid);
        if (is_any || table == faults_.refused) tables.push_back(table);
    }
    if (tables.empty()) return std::nullopt;
    const std::size_t table = random_.pick(tables);
    on_refusal(table);
    return Error(ErrorCode::unsupported_value, fmt::format("{}{}", kRefusal, table))
        .with_table(id_of(table).oid);
}

Result<Ack> FaultyLake::land(Flush& flush) {
    LakeView next = view_;
    flush.rewind();
    Watched watched(flush, next);
    Result<Ack> ack = inner_->apply(watched, Ack::durable, {});
    if (!ack) {
        // A table whose copy was given up meanwhile: the core hears of it now.
        const bool expected = ack.error().code() == ErrorCode::schema_mismatch &&
                              ack.error().table_oid() != 0 &&
                              ack.error().message().ends_with("there is no such finished copy");
        if (!expected) throw Violation("the destination says: " + ack.error().message());
        return ack;
    }
    if (flush.position() < view_.position) throw Violation("the position went back");
    view_ = next;
    view_.position = flush.position();
    landed_ = true;
    return ack;
}

Result<Ack> FaultyLake::apply(Flush& flush, Ack, std::stop_token) {
    if (random_.per_mille(faults_.unavailable_per_mille)) {
        return planned(random_.pick(kPassing));
    }
    const bool is_any = random_.per_mille(faults_.refusal_per_mille);
    if (is_any || faults_.refused) {
        if (auto refusal = refuse_one(flush, is_any)) return *std::move(refusal);
    }
    const bool is_lost = random_.per_mille(faults_.lost_answer_per_mille);
    if (!is_lost || random_.percent(50)) {
        Result<Ack> ack = land(flush);
        if (!ack || !is_lost) return ack;
    }
    return Error(ErrorCode::unknown_outcome, "planned: the answer was lost");
}

Result<Lsn> FaultyLake::read_position(std::stop_token stop) {
    if (random_.per_mille(faults_.unavailable_per_mille)) {
        return Error(ErrorCode::unavailable, "planned: nobody answers");
    }
    return inner_->read_position(std::move(stop));
}

}  // namespace walbrook::sim
