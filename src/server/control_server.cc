#include "server/control_server.h"

#include "base/clock.h"
#include "server/bounded_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace walbrook {
namespace {

// Long before a request is a burden it is refused. Over the socket come lists of tables, and of
// keys.
constexpr std::size_t kRequestBytesMax = 64 << 10;
constexpr std::size_t kCommandBytesMax = 16 << 20;
constexpr int kRequestSeconds = 15;  // As a client of the control socket.
constexpr std::chrono::seconds kStartLimit{5};
constexpr int kUnixPort = 80;  // httplib wants one, and does not use it.

// A file descriptor that closes itself.
class Descriptor {
 public:
    Descriptor() = default;
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    int get() const { return fd_; }
    bool ok() const { return fd_ >= 0; }

 private:
    int fd_ = -1;
};

// A path to the socket that fits into sockaddr_un (108 bytes): long ones go by way of
// an open descriptor of the folder, which must stay open while the path is used.
struct SocketPath {
    std::string text;
    Descriptor folder;
};

Result<SocketPath> short_path(const std::string& work_dir) {
    SocketPath path{control_socket_path(work_dir), {}};
    if (path.text.size() < sizeof(sockaddr_un::sun_path)) return path;
    path.folder = Descriptor(open(work_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!path.folder.ok()) {
        return Error(ErrorCode::unavailable,
                     fmt::format("open {}: {}", work_dir, std::strerror(errno)));
    }
    path.text = fmt::format("/proc/self/fd/{}/control.sock", path.folder.get());
    return path;
}

void give(const ApiAnswer& made, httplib::Response& response) {
    response.status = made.status;
    response.set_content(made.body, made.content_type.c_str());
    response.set_header("Cache-Control", "no-store");
    response.set_header("X-Content-Type-Options", "nosniff");
}

// In a time that tells nothing of how much of it was right.
bool is_same_secret(const std::string& given, const std::string& wanted) {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> a{};
    std::array<unsigned char, SHA256_DIGEST_LENGTH> b{};
    SHA256(reinterpret_cast<const unsigned char*>(given.data()), given.size(), a.data());
    SHA256(reinterpret_cast<const unsigned char*>(wanted.data()), wanted.size(), b.data());
    return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool has_token(const httplib::Request& request, const std::string& token) {
    return token.empty() ||
           is_same_secret(request.get_header_value("Authorization"), "Bearer " + token);
}

ApiAnswer answer_to(const httplib::Request& request, const StatusSource& source,
                    const std::string& token, httplib::Response& response) {
    if (has_token(request, token)) return answer(request.path, source);
    const ApiAnswer without = answer_without_token(request.path, source);
    if (without.status == 401) response.set_header("WWW-Authenticate", "Bearer");
    return without;
}

void set_up(httplib::Server& server, const StatusSource& source, const ControlCommands& commands,
            const std::string& token) {
    server.set_payload_max_length(commands.tables ? kCommandBytesMax : kRequestBytesMax);
    // Not the library's default, which sets SO_REUSEPORT: two pipelines with the same
    // address would then both listen and each answer half of the questions.
    server.set_socket_options([](socket_t fd) {
        const int yes = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    // Before the library's routing, which matches paths with regular expressions. A body is
    // read only after it.
    const bool has_commands = static_cast<bool>(commands.tables);
    server.set_pre_routing_handler([source, has_commands, token](const httplib::Request& request,
                                                                 httplib::Response& response) {
        if (request.method == "GET" || request.method == "HEAD") {
            give(answer_to(request, source, token, response), response);
        } else if (request.method == "POST" && has_commands) {
            return httplib::Server::HandlerResponse::Unhandled;
        } else {
            response.set_header("Allow", "GET, HEAD");
            give({405, "application/json", "{\"error\": \"only GET is understood\"}\n"}, response);
        }
        return httplib::Server::HandlerResponse::Handled;
    });
    if (!has_commands) return;
    server.Post(".*", [commands](const httplib::Request& request, httplib::Response& response) {
        give(answer_command(request.path, request.body, commands), response);
    });
}

// A listener with its thread.
class Listener {
 public:
    Listener(const StatusSource& source, const ControlCommands& commands,
             const ServerLimits& limits, const std::string& token = {}, TlsContext tls = nullptr)
        : server_(limits, std::move(tls)) {
        set_up(server_, source, commands, token);
    }
    ~Listener() {
        if (!thread_.joinable()) return;
        server_.give_up();
        server_.stop();
        thread_.join();
    }
    httplib::Server& server() { return server_; }
    // After binding. False if it did not begin to listen.
    bool start() {
        thread_ = std::thread([this] { server_.listen_after_bind(); });
        // stop() is lost on a server that does not run yet, so wait until it does.
        const Instant limit = now() + kStartLimit;
        while (!server_.is_running() && now() < limit) {
            sleep_for(std::chrono::milliseconds(1), {});
        }
        return server_.is_running();
    }

 private:
    BoundedServer server_;
    std::thread thread_;
};

// Taken by the one process that uses the folder; the kernel lets go when it dies.
Result<Descriptor> lock_folder(const std::string& work_dir) {
    const std::string path = work_dir + "/lock";
    Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file.ok()) {
        const ErrorCode code =
            errno == EACCES || errno == EROFS ? ErrorCode::permission : ErrorCode::config;
        return Error(code, fmt::format("open {}: {}", path, std::strerror(errno)));
    }
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        return Error(ErrorCode::conflict,
                     fmt::format("another process already uses {}; stop it, or give this pipeline "
                                 "an id and a work_dir of its own",
                                 work_dir));
    }
    return file;
}

}  // namespace

struct ControlServer::State {
    Descriptor lock;
    std::string socket_path;
    Descriptor socket_folder;
    std::string address;
    std::unique_ptr<Listener> unix_listener;
    std::unique_ptr<Listener> tcp_listener;

    ~State() {
        tcp_listener.reset();
        unix_listener.reset();
        if (!socket_path.empty()) unlink(socket_path.c_str());
    }
    Status listen_unix(const ControlServerOptions& options, const StatusSource& source,
                       const ControlCommands& commands);
    Status listen_tcp(const ControlServerOptions& options, const StatusSource& source);
};

Status ControlServer::State::listen_unix(const ControlServerOptions& options,
                                         const StatusSource& source,
                                         const ControlCommands& commands) {
    const std::string& work_dir = options.work_dir;
    WALBROOK_TRY(Descriptor taken, lock_folder(work_dir));
    lock = std::move(taken);
    WALBROOK_TRY(SocketPath path, short_path(work_dir));
    socket_path = path.text;
    socket_folder = std::move(path.folder);
    // We hold the lock, so whatever is there was left by a process that is gone.
    unlink(socket_path.c_str());
    const std::size_t bytes_max = commands.tables ? 2 * kCommandBytesMax : kRequestBytesMax;
    unix_listener = std::make_unique<Listener>(source, commands,
                                               ServerLimits{.request_bytes = bytes_max,
                                                            .request_time = options.request_time,
                                                            .answer_time = options.answer_time});
    unix_listener->server().set_address_family(AF_UNIX);
    if (!unix_listener->server().bind_to_port(socket_path, kUnixPort) ||
        chmod(socket_path.c_str(), 0600) != 0 || !unix_listener->start()) {
        return Error(ErrorCode::config,
                     fmt::format("listen on {}: {}; is it on a local disk?",
                                 control_socket_path(work_dir), std::strerror(errno)));
    }
    return {};
}

Status ControlServer::State::listen_tcp(const ControlServerOptions& options,
                                        const StatusSource& source) {
    const std::string& listen = options.listen;
    std::string host;
    int port = 0;
    if (!split_address(listen, host, port)) {
        return Error(ErrorCode::config,
                     fmt::format("listen on {}: must be host:port, or off", listen));
    }
    if (const std::string problem = exposure_problem(options); !problem.empty()) {
        return Error(ErrorCode::config, fmt::format("listen on {}: {}", listen, problem));
    }
    TlsContext tls;
    if (!options.tls_cert.empty()) {
        WALBROOK_TRY(tls, make_tls_context(options.tls_cert, options.tls_key));
    }
    tcp_listener = std::make_unique<Listener>(source, ControlCommands(),
                                              ServerLimits{.request_bytes = kRequestBytesMax,
                                                           .request_time = options.request_time,
                                                           .answer_time = options.answer_time},
                                              options.token, std::move(tls));
    bool bound = false;
    if (port == 0) {
        port = tcp_listener->server().bind_to_any_port(host);
        bound = port > 0;
    } else {
        bound = tcp_listener->server().bind_to_port(host, port);
    }
    if (!bound || !tcp_listener->start()) {
        return Error(ErrorCode::config,
                     fmt::format("listen on {}: {}; set server.listen to another address, or off",
                                 listen, errno == 0 ? "not possible" : std::strerror(errno)));
    }
    address = fmt::format("{}:{}", listen.substr(0, listen.rfind(':')), port);
    return {};
}

ControlServer::ControlServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
ControlServer::~ControlServer() = default;

Result<std::unique_ptr<ControlServer>> ControlServer::create(const ControlServerOptions& options,
                                                             const StatusSource& source,
                                                             const Logger& log,
                                                             const ControlCommands& commands) {
    auto state = std::make_unique<State>();
    WALBROOK_RETURN_IF_ERROR(state->listen_unix(options, source, commands));
    if (options.listen != "off") {
        WALBROOK_RETURN_IF_ERROR(state->listen_tcp(options, source));
        log.info("listening", {{"address", state->address},
                               {"tls", !options.tls_cert.empty()},
                               {"token", !options.token.empty()}});
    }
    return std::unique_ptr<ControlServer>(new ControlServer(std::move(state)));
}

const std::string& ControlServer::address() const { return state_->address; }

std::string control_socket_path(const std::string& work_dir) { return work_dir + "/control.sock"; }

bool split_address(const std::string& listen, std::string& host, int& port) {
    const std::size_t colon = listen.rfind(':');
    if (colon == std::string::npos || colon == 0) return false;
    host = listen.substr(0, colon);
    if (host.front() == '[' && host.back() == ']' && host.size() > 2) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string::npos || host.find('[') != std::string::npos) {
        return false;
    }
    const char* end = listen.data() + listen.size();
    const auto [stop, error] = std::from_chars(listen.data() + colon + 1, end, port);
    return error == std::errc() && stop == end && port >= 0 && port <= 65535;
}

namespace {

// Reached by processes of this machine alone.
bool is_loopback(const std::string& host) {
    in_addr v4{};
    if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    in6_addr v6{};
    if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
    return host == "localhost";
}

}  // namespace

std::string exposure_problem(const ControlServerOptions& options) {
    std::string host;
    int port = 0;
    if (!split_address(options.listen, host, port) || is_loopback(host)) return "";
    const bool has_token = !options.token.empty();
    const bool has_tls = !options.tls_cert.empty() && !options.tls_key.empty();
    if (has_token && has_tls) return "";
    return fmt::format(
        "other machines can reach this address, so it needs {}; or listen on 127.0.0.1",
        has_tls     ? "server.token_file"
        : has_token ? "server.tls.cert and server.tls.key"
                    : "server.token_file, server.tls.cert and server.tls.key");
}

namespace {

// `body`: of a POST; nothing: a GET.
Result<std::string> ask(const std::string& work_dir, const std::string& path,
                        const std::optional<std::string>& body,
                        std::chrono::milliseconds patience = {}) {
    WALBROOK_TRY(const SocketPath socket, short_path(work_dir));
    httplib::Client client(socket.text, kUnixPort);
    client.set_address_family(AF_UNIX);
    client.set_connection_timeout(kRequestSeconds);
    client.set_read_timeout(std::chrono::seconds(kRequestSeconds) + patience);
    const httplib::Result result =
        body ? client.Post(path, *body, "application/json") : client.Get(path);
    if (!result) {
        return Error(ErrorCode::unavailable,
                     fmt::format("no pipeline runs here: nothing answers on {}; start one with "
                                 "`walbrook run`",
                                 control_socket_path(work_dir)));
    }
    if (body && (result->status == 400 || result->status == 409 || result->status == 503)) {
        const ErrorCode code = result->status == 400   ? ErrorCode::config
                               : result->status == 409 ? ErrorCode::aborted
                                                       : ErrorCode::unavailable;
        return Error(code, problem_in(result->body));
    }
    if (result->status != 200) {
        return Error(ErrorCode::malformed,
                     fmt::format("{} answered {} with status {}", control_socket_path(work_dir),
                                 path, result->status));
    }
    return result->body;
}

}  // namespace

Result<std::string> ask_control_socket(const std::string& work_dir, const std::string& path) {
    return ask(work_dir, path, std::nullopt);
}

Result<std::string> command_control_socket(const std::string& work_dir, const std::string& path,
                                           const std::string& body,
                                           std::chrono::milliseconds patience) {
    return ask(work_dir, path, body, patience);
}

}  // namespace walbrook
