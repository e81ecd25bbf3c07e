#include "pipeline/flush_apply.h"

#include "base/check.h"
#include "base/failpoints.h"
#include "pipeline/error_policy.h"
#include "pipeline/without_table.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

// Counts the changes that the destination takes.
class Counted final : public Flush {
 public:
    explicit Counted(Flush& inner) : inner_(inner) {}

    Lsn position() const override { return inner_.position(); }
    std::int64_t commit_time_us() const override { return inner_.commit_time_us(); }
    void rewind() override {
        inner_.rewind();
        changes_.clear();
    }
    Result<const FlushItem*> next() override {
        WALBROOK_TRY(const FlushItem* item, inner_.next());
        const auto* batch = item == nullptr ? nullptr : std::get_if<ChangeBatch>(item);
        if (batch != nullptr) changes_[batch->schema()->id] += batch->changes.size();
        return item;
    }
    std::map<TableId, std::uint64_t> take() { return std::move(changes_); }

 private:
    Flush& inner_;
    std::map<TableId, std::uint64_t> changes_;
};

std::string_view before_apply(FlushKind kind) {
    switch (kind) {
        case FlushKind::common:
            return "flush.before_apply";
        case FlushKind::slice:
            return "catchup.before_slice";
        case FlushKind::publish:
            return "publish.before_apply";
    }
    return "flush.before_apply";
}

std::string_view after_apply(FlushKind kind) {
    switch (kind) {
        case FlushKind::common:
            return "flush.after_apply";
        case FlushKind::slice:
            return "catchup.after_slice";
        case FlushKind::publish:
            return "publish.after_apply";
    }
    return "flush.after_apply";
}

}  // namespace

FlushApply::FlushApply(Destination& destination, StoreGate& store, Logger& log,
                       std::shared_ptr<Flush> flush, FlushKind kind, Lsn applied)
    : destination_(destination),
      store_(store),
      log_(log),
      flush_(std::move(flush)),
      kind_(kind),
      applied_(applied) {}

Status FlushApply::store_position() {
    if (kind_ == FlushKind::slice) return {};  // It moves none.
    const Lsn position = flush_->position();
    return store_.with([&](Store& store) { return store.advance({position, position}); }).status();
}

Status FlushApply::apply(const std::stop_token& stop) {
    WALBROOK_FAILPOINT(before_apply(kind_));
    Counted counted(*flush_);
    counted.rewind();
    const Result<Ack> ack = destination_.apply(counted, Ack::durable, stop);
    if (!ack && ack.error().code() != ErrorCode::unknown_outcome) return ack.error();
    if (ack && *ack != Ack::durable) {
        return Error(ErrorCode::internal, "the destination did not make a flush durable");
    }
    standing_ = ack ? Standing::applied : Standing::unknown;
    if (!ack) {
        log_.warn("the outcome of a flush is unknown; the destination is asked what it holds",
                  {{"error", ack.error().message()}});
    }
    outcome_.applied = counted.take();
    return {};
}

// The destination could not say whether it took the flush: its position can.
Status FlushApply::settle_unknown(const std::stop_token& stop) {
    WALBROOK_TRY(const Lsn position, destination_.read_position(stop));
    if (kind_ == FlushKind::slice) {
        WALBROOK_RETURN_IF_ERROR(give_up_copies());
    } else if (position < flush_->position()) {
        standing_ = Standing::open;
        return Error(ErrorCode::unavailable, "the flush did not land");
    } else if (position > flush_->position() || flush_->position() == applied_) {
        return Error(
            ErrorCode::corrupt_state,
            fmt::format("the destination stands at {}, and a flush up to {} after {} was "
                        "on its way: another process writes to it, or it was put back",
                        to_string(position), to_string(flush_->position()), to_string(applied_)));
    }
    standing_ = Standing::applied;
    return {};
}

// A slice moves no position, so nothing tells whether it landed: its copy begins again.
Status FlushApply::give_up_copies() {
    flush_->rewind();
    for (;;) {
        WALBROOK_TRY(const FlushItem* item, flush_->next());
        if (item == nullptr) return {};
        const auto* batch = std::get_if<ChangeBatch>(item);
        const auto* truncate = std::get_if<Truncate>(item);
        const auto* change = std::get_if<SchemaChange>(item);
        const CopyTargetPtr copy = batch != nullptr      ? batch->copy
                                   : truncate != nullptr ? truncate->copy
                                   : change != nullptr   ? change->copy
                                                         : nullptr;
        WALBROOK_CHECK(copy != nullptr);
        const TableId table = copy->schema->id;
        if (!outcome_.refused.empty() && outcome_.refused.back().first == table) continue;
        outcome_.refused.emplace_back(
            table, Error(ErrorCode::aborted, "nothing tells whether part of a copy landed"));
    }
}

FlushApply::Progress FlushApply::try_once(const std::stop_token& stop) {
    for (;;) {
        Status status;
        if (standing_ == Standing::open) status = apply(stop);
        if (status && standing_ == Standing::unknown) status = settle_unknown(stop);
        if (standing_ == Standing::applied && !is_noted_) {
            is_noted_ = true;
            status = failpoint(after_apply(kind_));
        }
        if (status) status = store_position();
        if (status) status = failpoint("flush.after_store");
        if (status) return Progress::done;

        const Error& error = status.error();
        if (standing_ == Standing::open && error.table_oid() != 0) {
            const TableId table{error.table_oid()};
            log_.error("a table stopped: the destination refused its changes",
                       {{"table_oid", std::to_string(table.oid)}, {"error", error.message()}});
            flush_ = std::make_shared<WithoutTable>(flush_, table, applied_, error.message());
            outcome_.refused.emplace_back(table, error);
            continue;
        }
        const Reaction reaction = reaction_to(error.code());
        if (reaction == Reaction::stop || reaction == Reaction::error_table) {
            outcome_.status = Error(error).with_context("apply a flush");
            return Progress::done;
        }
        trouble_ = std::move(status);
        return Progress::again;
    }
}

}  // namespace walbrook
