#include "support/fake_pooler.h"

#include <arpa/inet.h>
#include <cstring>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace walbrook::testing {
namespace {

constexpr int kPollMs = 50;
constexpr std::uint32_t kSslRequest = 80877103;
constexpr std::size_t kStartupBytesMax = 10'000;

bool send_all(int socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

bool receive_all(int socket, char* into, std::size_t size) {
    while (size > 0) {
        const ssize_t got = recv(socket, into, size, 0);
        if (got <= 0) return false;
        into += got;
        size -= static_cast<std::size_t>(got);
    }
    return true;
}

std::uint32_t read_u32(const char* from) {
    std::uint32_t value = 0;
    std::memcpy(&value, from, sizeof value);
    return ntohl(value);
}

std::string u32(std::uint32_t value) {
    value = htonl(value);
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
}

std::string u16(std::uint16_t value) {
    return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string message(char kind, const std::string& body) {
    return kind + u32(static_cast<std::uint32_t>(body.size()) + 4) + body;
}

std::string z(std::string_view text) { return std::string(text) + '\0'; }

// One row of one column of text, and the end of the statement.
std::string answer(const std::string& value) {
    const std::string column =
        z("pg_backend_pid") + u32(0) + u16(0) + u32(23) + u16(4) + u32(0xffff'ffff) + u16(0);
    return message('T', u16(1) + column) +
           message('D', u16(1) + u32(static_cast<std::uint32_t>(value.size())) + value) +
           message('C', z("SELECT 1")) + message('Z', "I");
}

// The start-up packet as it came; empty when the client is gone.
std::string read_startup(int client) {
    for (;;) {
        char head[8];
        if (!receive_all(client, head, sizeof head)) return {};
        const std::uint32_t size = read_u32(head);
        if (size == 8 && read_u32(head + 4) == kSslRequest) {
            if (!send_all(client, "N")) return {};
            continue;
        }
        if (size < 8 || size > kStartupBytesMax) return {};
        std::string packet(size, '\0');
        std::memcpy(packet.data(), head, sizeof head);
        if (!receive_all(client, packet.data() + 8, size - 8)) return {};
        return packet;
    }
}

int listen_somewhere(std::uint16_t& port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    void* raw = &address;
    if (bind(fd, static_cast<sockaddr*>(raw), size) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, static_cast<sockaddr*>(raw), &size) != 0) {
        throw std::runtime_error("cannot listen");
    }
    port = ntohs(address.sin_port);
    return fd;
}

bool is_readable(int fd) {
    pollfd one{fd, POLLIN, 0};
    return poll(&one, 1, kPollMs) > 0;
}

}  // namespace

FakePooler::FakePooler(Mode mode, std::uint16_t server_port)
    : mode_(mode), server_port_(server_port), listener_(listen_somewhere(port_)) {
    accepting_ = std::thread([this] { accept_clients(); });
}

FakePooler::~FakePooler() {
    is_stopping_ = true;
    accepting_.join();
    for (std::thread& client : clients_) client.join();
    close(listener_);
}

void FakePooler::accept_clients() {
    while (!is_stopping_) {
        if (!is_readable(listener_)) continue;
        const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (client < 0) continue;
        clients_.emplace_back([this, client] {
            serve(client);
            close(client);
        });
    }
}

void FakePooler::serve(int client) const {
    const std::string startup = read_startup(client);
    if (startup.empty()) return;
    if (mode_ == Mode::refuses_replication) {
        if (startup.find(z("replication")) == std::string::npos) {
            return pass_on(client, startup.data(), startup.size());
        }
        send_all(client, message('E', "S" + z("FATAL") + "V" + z("FATAL") + "C" + z("08P01") + "M" +
                                          z("unsupported startup parameter: replication") + '\0'));
        return;
    }
    send_all(client, message('R', u32(0)) + message('S', z("server_version") + z("17.5")) +
                         message('S', z("client_encoding") + z("UTF8")) +
                         message('S', z("standard_conforming_strings") + z("on")) +
                         message('K', u32(99) + u32(7)) + message('Z', "I"));
    while (!is_stopping_) {
        if (!is_readable(client)) continue;
        char head[5];
        if (!receive_all(client, head, sizeof head) || head[0] != 'Q') return;
        std::string body(read_u32(head + 1) - 4, '\0');
        if (!receive_all(client, body.data(), body.size())) return;
        if (!send_all(client, answer("4711"))) return;
    }
}

void FakePooler::pass_on(int client, const char* startup, std::size_t size) const {
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(server_port_);
    void* raw = &address;
    bool is_open = connect(server, static_cast<sockaddr*>(raw), sizeof address) == 0 &&
                   send_all(server, {startup, size});
    while (is_open && !is_stopping_) {
        pollfd ends[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
        if (poll(ends, 2, kPollMs) <= 0) continue;
        for (int i = 0; i < 2; ++i) {
            if (ends[i].revents == 0) continue;
            char bytes[8192];
            const ssize_t got = recv(ends[i].fd, bytes, sizeof bytes, 0);
            is_open = is_open && got > 0 &&
                      send_all(ends[1 - i].fd, {bytes, static_cast<std::size_t>(got)});
        }
    }
    close(server);
}

}  // namespace walbrook::testing
