#pragma once

#include "base/clock.h"
#include "walbrook/result.h"

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

namespace walbrook {

struct ServerLimits {
    std::size_t request_bytes = 64 << 10;            // Request line, headers and body together.
    std::chrono::milliseconds request_time{10'000};  // To send all of it, TLS handshake included.
    std::chrono::milliseconds answer_time{30'000};   // To take the answer.
    std::size_t threads = 4;
    std::size_t waiting = 16;  // Connections that wait for a thread; more are closed at once.
};

using TlsContext = std::shared_ptr<SSL_CTX>;

// For a server with that certificate (its chain behind it) and key, each PEM text or a path.
// TLS 1.2 or newer. ErrorCode::config when they cannot be read or do not belong together.
Result<TlsContext> make_tls_context(const std::string& cert, const std::string& key);

// httplib's server, with an end to everything that a client could stretch. The library bounds
// each read in time and each header in size, but neither their number nor the connections that
// wait: one byte every few seconds would keep a thread for ever.
class BoundedServer final : public httplib::Server {
 public:
    explicit BoundedServer(const ServerLimits& limits, TlsContext tls = nullptr);
    // Connections that are being read end, and so does stop().
    void give_up() { gives_up_ = true; }

 private:
    class Connections;
    bool process_and_close_socket(socket_t fd) override;

    const ServerLimits limits_;
    const TlsContext tls_;
    std::atomic<bool> gives_up_ = false;
};

}  // namespace walbrook
