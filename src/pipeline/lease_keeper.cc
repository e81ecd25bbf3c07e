#include "pipeline/lease_keeper.h"

#include "base/backoff.h"
#include "postgres/slots.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <poll.h>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kLeaseDeadline{15};
// The loss of a session shows at once on its socket; a peer that is gone without a word shows
// only when it is asked.
constexpr seconds kAskInterval{10};

}  // namespace

Status LeaseKeeper::take(const Deadline& deadline) {
    Purpose purpose;
    purpose.application_name = application_name(config_.id, "lease");
    WALBROOK_TRY(Connection session, Connection::open(config_.pg_connection, purpose, deadline));
    WALBROOK_TRY(const bool taken, try_lease(session, deadline, config_.id));
    if (!taken) {
        WALBROOK_TRY(const std::optional<LeaseHolder> holder,
                     lease_holder(session, deadline, config_.id));
        // Our own session, of which we know that it is lost: the server does not yet.
        if (holder && last_pid_ != 0 && holder->pid == last_pid_) {
            WALBROOK_RETURN_IF_ERROR(
                session.query(deadline, "select pg_terminate_backend($1)", last_pid_).status());
            return Error(ErrorCode::unavailable, "the lost session still has the lease");
        }
        return Error(ErrorCode::fenced,
                     fmt::format("pipeline {} is already running: {} has its lease; stop it first, "
                                 "or give this one another pipeline.id",
                                 config_.id, holder ? describe(*holder) : "another session"));
    }
    last_pid_ = session.backend_pid();
    session_ = std::move(session);
    return {};
}

void LeaseKeeper::start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

void LeaseKeeper::stop() {
    if (thread_.joinable()) {
        thread_.request_stop();
        thread_.join();
    }
    session_.reset();
}

std::string LeaseKeeper::problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
}

void LeaseKeeper::set_problem(std::string text) {
    const std::lock_guard lock(mutex_);
    problem_ = std::move(text);
}

void LeaseKeeper::work(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        const Status alive = watch(stop);
        if (stop.stop_requested()) return;
        log_.failed(LogLevel::warn, "the session of the pipeline's lease was lost; taking it again",
                    alive.error());
        session_.reset();
        Backoff backoff({milliseconds(20), milliseconds(5000)});
        while (!session_) {
            const Status taken = take(within(kLeaseDeadline, stop));
            if (taken) break;
            if (stop.stop_requested()) return;
            if (taken.error().code() == ErrorCode::fenced) {
                return fail_(Error(taken.error())
                                 .with_context("the lease was lost, and another process took it"));
            }
            set_problem("the pipeline's lease is lost, and cannot be taken again: " +
                        taken.error().message());
            if (!sleep_for(backoff.next(), stop)) return;
        }
        set_problem({});
        log_.info("the pipeline's lease is held again");
    }
}

Status LeaseKeeper::watch(const std::stop_token& stop) {
    const StopEvent event(stop);
    for (;;) {
        const int socket = PQsocket(session_->handle());
        switch (wait_for(socket, POLLIN, now() + kAskInterval, event)) {
            case Wait::stopped:
                return {};
            case Wait::timed_out:
            case Wait::ready:
                // Nothing but the end, or a notice, comes unasked.
                WALBROOK_RETURN_IF_ERROR(session_->exec(within(kLeaseDeadline, stop), "select 1"));
        }
    }
}

}  // namespace walbrook
