#include "support/tcp_proxy.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace walbrook::testing {
namespace {

// Enough for a request for TLS and the packet that names user, database and application.
constexpr std::size_t kBeginningBytes = 2048;
// How soon a pump sees that its connection was cut or that the test is over.
constexpr int kProxyPollMs = 20;

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

bool send_all(int socket, const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t sent = send(socket, data, size, MSG_NOSIGNAL);
        if (sent <= 0) return false;
        data += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return true;
}

}  // namespace

struct TcpProxy::Link {
    int client = -1;
    int server = -1;
    std::string beginning;  // First bytes from the client.
    std::atomic<bool> is_over{false};
    std::atomic<bool> is_half_open{false};  // Nothing passes any more, until the proxy ends.

    Link(int from, int to) : client(from), server(to) {}
    ~Link() {
        close(client);
        if (server >= 0) close(server);
    }
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    bool is_of(const std::string& who) const { return beginning.find(who) != std::string::npos; }
};

TcpProxy::TcpProxy(std::uint16_t server_port) : server_port_(server_port) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_, 64) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        throw std::runtime_error("no port for a proxy");
    }
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { accept_links(); });
}

TcpProxy::~TcpProxy() {
    {
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    accepting_.join();
    for (std::thread& pump : pumps_) pump.join();
    close(listener_);
}

void TcpProxy::cut(std::string who, std::uint64_t after_bytes, End end, Way way) {
    const std::lock_guard lock(mutex_);
    cuts_.push_back({std::move(who), after_bytes, end, way});
}

void TcpProxy::lose_answer(std::string text, int nth) {
    const std::lock_guard lock(mutex_);
    lost_answer_ = std::move(text);
    answers_left_ = nth;
}

bool TcpProxy::has_lost_answer() const {
    const std::lock_guard lock(mutex_);
    return answers_left_ == 0;
}

std::size_t TcpProxy::cuts_left() const {
    const std::lock_guard lock(mutex_);
    return cuts_.size();
}

void TcpProxy::stall(std::string who) {
    const std::lock_guard lock(mutex_);
    has_stall_ = true;
    stalled_ = std::move(who);
}

void TcpProxy::resume() {
    const std::lock_guard lock(mutex_);
    has_stall_ = false;
}

int TcpProxy::half_open(const std::string& who, Side lost) {
    const std::lock_guard lock(mutex_);
    int count = 0;
    for (const auto& each : links_) {
        const auto link = each.lock();
        if (!link || link->is_over || link->is_half_open || !link->is_of(who)) continue;
        link->is_half_open = true;
        shutdown(lost == Side::client ? link->client : link->server, SHUT_RDWR);
        ++count;
    }
    return count;
}

void TcpProxy::split(std::size_t packet_bytes) {
    const std::lock_guard lock(mutex_);
    packet_bytes_ = packet_bytes;
}

void TcpProxy::slow_down(std::string who, std::uint64_t bytes_per_second) {
    const std::lock_guard lock(mutex_);
    slow_ = std::move(who);
    bytes_per_second_ = bytes_per_second;
}

void TcpProxy::accept_links() {
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            if (is_stopping_) return;
        }
        pollfd waiting{listener_, POLLIN, 0};
        if (poll(&waiting, 1, kProxyPollMs) <= 0) continue;
        const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) continue;
        auto link = std::make_shared<Link>(client, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_in address = loopback(server_port_);
        // A server that is down: the client's connection just ends.
        if (connect(link->server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            continue;
        const int on = 1;
        setsockopt(link->client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(link->server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        {
            const std::lock_guard lock(mutex_);
            links_.emplace_back(link);
        }
        pumps_.emplace_back([this, link] { pump_from_client(link); });
        pumps_.emplace_back([this, link] { pump_from_server(link); });
    }
}

bool TcpProxy::is_stalled(const Link& link) const {
    const std::lock_guard lock(mutex_);
    return has_stall_ && !is_stopping_ && link.is_of(stalled_);
}

// False when the connection is over.
bool TcpProxy::wait_readable(const Link& link, int socket) const {
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            if (is_stopping_) return false;
        }
        if (link.is_over) return false;
        if (link.is_half_open || is_stalled(link)) {
            poll(nullptr, 0, kProxyPollMs);
            continue;
        }
        pollfd waiting{socket, POLLIN, 0};
        // What came, or ended, after the stall began waits for its end, too.
        if (poll(&waiting, 1, kProxyPollMs) > 0 && !link.is_half_open && !is_stalled(link)) {
            return true;
        }
    }
}

void TcpProxy::pump_from_client(const std::shared_ptr<Link>& link) {
    std::array<char, 16384> buffer;
    while (wait_readable(*link, link->client)) {
        const ssize_t got = recv(link->client, buffer.data(), buffer.size(), 0);
        if (link->is_half_open) continue;
        if (got <= 0) break;
        {
            const std::lock_guard lock(mutex_);
            const std::size_t room = kBeginningBytes - link->beginning.size();
            link->beginning.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
        }
        const bool is_passed =
            pass(*link, Way::to_server, buffer.data(), static_cast<std::size_t>(got));
        if (!is_passed && !link->is_half_open) break;
    }
    link->is_over = true;
}

void TcpProxy::pump_from_server(const std::shared_ptr<Link>& link) {
    std::array<char, 16384> buffer;
    while (wait_readable(*link, link->server)) {
        const ssize_t got = recv(link->server, buffer.data(), buffer.size(), 0);
        if (link->is_half_open) continue;
        if (got <= 0) break;
        const bool is_passed =
            pass(*link, Way::to_client, buffer.data(), static_cast<std::size_t>(got));
        if (!is_passed && !link->is_half_open) break;
    }
    link->is_over = true;
}

std::size_t TcpProxy::before_cut(const Link& link, Way way, std::size_t size) {
    const auto cut = std::find_if(cuts_.begin(), cuts_.end(), [&](const Cut& each) {
        return each.way == way && link.is_of(each.who);
    });
    if (cut == cuts_.end()) return size;
    if (size <= cut->bytes_left) {
        cut->bytes_left -= size;
        return size;
    }
    // With this the close at the end of the link is a reset. Of what was sent to the server both
    // sides hear.
    const linger now{cut->end == End::reset ? 1 : 0, 0};
    setsockopt(link.client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (way == Way::to_server) setsockopt(link.server, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    const std::size_t before = cut->bytes_left;
    cuts_.erase(cut);
    return before;
}

bool TcpProxy::pass(Link& link, Way way, const char* data, std::size_t size) {
    std::size_t packet = 0;
    std::uint64_t rate = 0;
    std::size_t passed = 0;
    {
        const std::lock_guard lock(mutex_);
        if (way == Way::to_client) {
            if (answers_left_ > 0 &&
                std::string_view(data, size).find(lost_answer_) != std::string_view::npos &&
                --answers_left_ == 0) {
                return false;
            }
            rate = link.is_of(slow_) ? bytes_per_second_ : 0;
        }
        passed = before_cut(link, way, size);
        packet = packet_bytes_ == 0 ? size : packet_bytes_;
    }
    const int to = way == Way::to_client ? link.client : link.server;
    for (std::size_t at = 0; at < passed; at += packet) {
        if (!send_all(to, data + at, std::min(packet, passed - at))) return false;
    }
    if (rate != 0) poll(nullptr, 0, static_cast<int>(passed * 1000 / rate));
    return passed == size;
}

}  // namespace walbrook::testing
