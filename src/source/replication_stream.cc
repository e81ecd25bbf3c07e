#include "source/replication_stream.h"

#include "base/clock.h"
#include "postgres/quote.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <array>
#include <cstring>
#include <sys/socket.h>

namespace walbrook {
namespace {

// Postgres counts microseconds from 2000-01-01.
constexpr std::int64_t kPostgresEpochUs = 946'684'800'000'000;

std::uint64_t read_u64(const std::byte* from) {
    std::uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return __builtin_bswap64(value);
}

void write_u64(char* to, std::uint64_t value) {
    value = __builtin_bswap64(value);
    std::memcpy(to, &value, sizeof value);
}

// The newest protocol that the server speaks (Postgres manual, "Logical Streaming
// Replication Parameters": 2 from 14, 3 from 15, 4 from 16).
int protocol_version(int server_version) {
    return server_version >= 160'000 ? 4 : server_version >= 150'000 ? 3 : 2;
}

// A large receive buffer lets the walsender go on while we apply, so that both sides
// change turns less often.
constexpr int kReceiveBufferBytes = 4 << 20;

// No message of Postgres is larger than 1 GB (MaxAllocSize in memutils.h).
bool is_too_large(const Error& why) {
    return why.sqlstate().starts_with("54") ||
           why.message().find("invalid memory alloc request size") != std::string::npos;
}

// A row filter that fails for the row, or text that has no form in UTF-8.
bool is_data_exception(const Error& why) { return why.sqlstate().starts_with("22"); }

// Behind a row that cannot be sent this slot gives nothing: decoding goes by the catalog of the
// row's time, so that a publication without the table, or with another filter, comes too late.
Error ended(const Error& why) {
    Error error = Error(why).with_context("the server ended the stream");
    std::string_view what;
    if (is_too_large(why)) {
        what =
            "A changed row is probably larger than what Postgres can send (1 GB): make it smaller "
            "or leave its large columns out of the publication";
    } else if (is_data_exception(why)) {
        what =
            "Postgres could not send a changed row: the publication's row filter probably fails "
            "for it, or a text in it has no form in UTF-8. Mend the filter (alter publication … "
            "set table … where …) or the row, or leave the table out of the publication";
    } else {
        return error;
    }
    return Error(ErrorCode::config,
                 fmt::format("{}. {}, then drop the slot and start with invalidated_slot_behavior: "
                             "recreate, which copies all tables again",
                             error.message(), what))
        .with_sqlstate(why.sqlstate());
}

}  // namespace

Result<std::unique_ptr<ReplicationStream>> ReplicationStream::start(Connection connection,
                                                                    const StreamOptions& options,
                                                                    const Deadline& deadline) {
    const std::string publication = quote_identifier(options.publication);
    const std::string command = fmt::format(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '{}', publication_names {}, "
        "messages 'true', streaming 'on'{})",
        quote_identifier(options.slot), to_string(options.start),
        protocol_version(connection.server_version()), quote_replication_literal(publication),
        options.binary ? ", binary 'true'" : "");
    WALBROOK_RETURN_IF_ERROR(connection.start_copy(deadline, command));
    // A refusal by the kernel (net.core.rmem_max) only means smaller gulps.
    (void)setsockopt(PQsocket(connection.handle()), SOL_SOCKET, SO_RCVBUF, &kReceiveBufferBytes,
                     sizeof kReceiveBufferBytes);
    return std::unique_ptr<ReplicationStream>(new ReplicationStream(std::move(connection)));
}

ReplicationStream::~ReplicationStream() { release(); }

void ReplicationStream::release() {
    if (buffer_ != nullptr) PQfreemem(buffer_);
    buffer_ = nullptr;
}

int ReplicationStream::fd() const { return PQsocket(connection_.handle()); }

void ReplicationStream::expect_much(bool is_on) {
    if (is_on == large_reads_.has_value()) return;
    if (is_on) {
        large_reads_.emplace(connection_);
    } else {
        large_reads_.reset();
    }
}

Result<StreamEvent> ReplicationStream::next() {
    release();
    PGconn* conn = connection_.handle();
    for (int attempt = 0; attempt < 2; ++attempt) {
        const int size = PQgetCopyData(conn, &buffer_, 1);
        if (size > 0) {
            may_have_more_ = true;
            return parse(
                {reinterpret_cast<const std::byte*>(buffer_), static_cast<std::size_t>(size)});
        }
        if (size == -2) return connection_.error("read the replication stream");
        if (size == -1) {
            const Status end = connection_.finish_copy(within(std::chrono::seconds(5)));
            if (!end) return ended(end.error());
            return Error(ErrorCode::unavailable, "the server ended the replication stream");
        }
        if (attempt == 0 && !(large_reads_ ? large_reads_->consume() : PQconsumeInput(conn) != 0)) {
            return connection_.error("read the replication stream");
        }
    }
    may_have_more_ = false;
    return StreamEvent{};
}

Result<StreamEvent> ReplicationStream::parse(std::span<const std::byte> data) {
    StreamEvent event;
    const char kind = static_cast<char>(data[0]);
    if (kind == 'w' && data.size() > 25) {
        event.kind = StreamEvent::Kind::frame;
        event.payload = data.subspan(25);
        return event;
    }
    if (kind == 'k' && data.size() == 18) {
        event.kind = StreamEvent::Kind::keepalive;
        event.wal_end = Lsn{read_u64(data.data() + 1)};
        event.reply_requested = data[17] != std::byte{0};
        return event;
    }
    return Error(ErrorCode::corrupt_state,
                 fmt::format("the replication stream sent a message of kind {:#04x} and {} bytes, "
                             "which its protocol does not have",
                             static_cast<unsigned char>(kind), data.size()));
}

Status ReplicationStream::send_status(Lsn received, Lsn flushed, bool ask_reply) {
    std::array<char, 34> message{};
    message[0] = 'r';
    write_u64(&message[1], received.value);
    write_u64(&message[9], flushed.value);
    write_u64(&message[17], flushed.value);
    write_u64(&message[25], static_cast<std::uint64_t>(unix_time_us() - kPostgresEpochUs));
    message[33] = ask_reply ? 1 : 0;
    PGconn* conn = connection_.handle();
    if (PQputCopyData(conn, message.data(), message.size()) != 1 || PQflush(conn) < 0) {
        return connection_.error("send the standby status");
    }
    return {};
}

}  // namespace walbrook
