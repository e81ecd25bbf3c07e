#include "sim/writer.h"

#include "base/check.h"
#include "pipeline/without_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook::sim {
namespace {

// Notes what a flush does to phases, as the destination reads it.
class Watched final : public Flush {
 public:
    Watched(Flush& inner, LakeView& lake) : inner_(inner), lake_(lake) {}
    Lsn position() const override { return inner_.position(); }
    std::int64_t commit_time_us() const override { return inner_.commit_time_us(); }
    void rewind() override { inner_.rewind(); }
    Result<const FlushItem*> next() override {
        WALBROOK_TRY(const FlushItem* item, inner_.next());
        if (item == nullptr) return item;
        if (const auto* publish = std::get_if<Publish>(item)) {
            lake_.tables[Source::table_of(publish->copy->schema->id.oid)] = {
                TablePhase::ready, {}, true};
        } else if (const auto* freeze = std::get_if<Freeze>(item)) {
            LakeTable& table = lake_.tables[Source::table_of(freeze->schema->id.oid)];
            table.phase = freeze->phase;
            table.frozen_at = freeze->position;
        }
        return item;
    }

 private:
    Flush& inner_;
    LakeView& lake_;
};

}  // namespace

void Writer::submit(std::shared_ptr<Flush> flush, FlushKind kind) {
    if (job_) throw Violation("a flush was submitted while another is in flight");
    job_ = {std::move(flush), kind, false, {}};
}

std::vector<TableId> Writer::tables_of(Flush& flush) const {
    std::vector<TableId> tables;
    flush.rewind();
    for (;;) {
        const auto item = flush.next();
        if (!item) throw Violation("a flush cannot be read: " + item.error().message());
        if (*item == nullptr) return tables;
        if (const auto* batch = std::get_if<ChangeBatch>(*item)) {
            tables.push_back(batch->schema()->id);
        }
    }
}

Writer::Step Writer::step(const WriterFaults& faults) {
    if (!job_) return Step::nothing;
    if (job_->has_landed) return Step::done;
    if (random_.per_mille(faults.unavailable_per_mille)) return Step::nothing;
    if (random_.per_mille(faults.lost_answer_per_mille)) return lose_answer();
    if (random_.per_mille(faults.refusal_per_mille)) {
        const std::vector<TableId> tables = tables_of(*job_->flush);
        if (!tables.empty()) {
            const TableId table = tables[random_.below(tables.size())];
            refuse(table, Error(ErrorCode::unsupported_value, "refused by plan"));
        }
    }
    return land();
}

void Writer::refuse(TableId table, Error error) {
    job_->flush = std::make_shared<WithoutTable>(job_->flush, table, applied_, error.message());
    job_->refused.emplace_back(table, std::move(error));
}

Writer::Step Writer::land() {
    for (;;) {
        LakeView next = lake_;
        job_->flush->rewind();
        Watched watched(*job_->flush, next);
        const Result<Ack> ack = destination_.apply(watched, Ack::durable, {});
        if (!ack) {
            const TableId table{ack.error().table_oid()};
            // A table whose copy was given up meanwhile: the core hears of it now.
            const bool expected = ack.error().code() == ErrorCode::schema_mismatch &&
                                  table.oid != 0 && is_copy_gone(table);
            if (!expected) throw Violation("the destination says: " + ack.error().message());
            refuse(table, ack.error());
            continue;
        }
        if (job_->flush->position() < lake_.position) throw Violation("the position went back");
        lake_ = next;
        lake_.position = job_->flush->position();
        applied_ = lake_.position;
        job_->has_landed = true;
        return Step::landed;
    }
}

// FlushWriter::settle_unknown: the position decides, where it can.
Writer::Step Writer::lose_answer() {
    const Lsn before = applied_;
    if (random_.percent(50)) land();
    const auto position = destination_.read_position({});
    if (!position) throw Violation("no position: " + position.error().message());
    const bool moves = job_->flush->position() > before;
    if (bug_ == Bug::repeats_unknown_flush && job_->has_landed) {
        job_->has_landed = false;
        return land();
    }
    if (moves && *position == job_->flush->position()) {
        if (!job_->has_landed) throw Violation("a flush looks landed and is not");
        return Step::landed;
    }
    if (*position < job_->flush->position()) return Step::nothing;
    return Step::must_restart;
}

std::vector<std::pair<TableId, Error>> Writer::take_refused() {
    WALBROOK_CHECK(job_ && job_->has_landed);
    auto refused = std::move(job_->refused);
    job_.reset();
    return refused;
}

}  // namespace walbrook::sim
