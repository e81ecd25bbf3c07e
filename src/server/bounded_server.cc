#include "server/bounded_server.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace walbrook {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{100};  // How often a wait looks whether the server gives up.
constexpr std::size_t kPemBytesMax = 1 << 20;

// The thread has a connection for which there is no room: it is closed, and not read.
thread_local bool is_full = false;

using Tls = std::unique_ptr<SSL, decltype(&SSL_free)>;

// Renames the header Range, which is of no use here: the library reads it with a regular expression
// that takes stack for each of its bytes, before anybody was asked for a token, and a header of a
// few kilobytes makes it repeat the answer thousands of times. Headers end with the first line that
// has nothing but its end of line, as for the library.
class WithoutRange {
 public:
    void filter(char* bytes, std::size_t size) {
        for (char* at = bytes; at != bytes + size && !is_over_; ++at) {
            if (*at == '\n') {
                is_over_ = column_ == 1 && is_return_;
                column_ = 0;
                is_name_ = true;
                continue;
            }
            is_return_ = *at == '\r';
            is_name_ = is_name_ && column_ < kName.size() && lower(*at) == kName[column_];
            if (is_name_ && column_ + 1 == kName.size()) *at = '-';
            ++column_;
        }
    }

 private:
    static constexpr std::string_view kName = "range";  // And whatever else begins so.
    static char lower(char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); }
    std::size_t column_ = 0;  // Of the line.
    bool is_name_ = true;     // The line was that name as far as it has come.
    bool is_return_ = false;  // Its last byte.
    bool is_over_ = false;
};

// One connection: so many bytes in, until then; the answer out, until then.
class BoundedStream final : public httplib::Stream {
 public:
    BoundedStream(int fd, const ServerLimits& limits, const std::atomic<bool>& gives_up)
        : fd_(fd),
          limits_(limits),
          gives_up_(gives_up),
          read_until_(now() + limits.request_time),
          bytes_left_(limits.request_bytes) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    ~BoundedStream() override {
        if (is_encrypted_) SSL_shutdown(tls_.get());  // So that an answer cut short is seen.
    }
    BoundedStream(const BoundedStream&) = delete;
    BoundedStream& operator=(const BoundedStream&) = delete;

    bool encrypt(SSL_CTX* context) {
        tls_.reset(SSL_new(context));
        if (!tls_ || SSL_set_fd(tls_.get(), fd_) != 1) return false;
        is_encrypted_ = repeat([this] { return SSL_accept(tls_.get()); }, read_until_) == 1;
        return is_encrypted_;
    }
    bool is_readable() const override { return at_ < filled_ || wait(POLLIN, read_until_); }
    bool is_writable() const override { return wait(POLLOUT, now() + limits_.answer_time); }
    ssize_t read(char* out, std::size_t size) override {
        if (at_ == filled_) {
            const ssize_t got = fill();
            if (got <= 0) return got;
        }
        const std::size_t taken = std::min(size, filled_ - at_);
        std::memcpy(out, buffer_ + at_, taken);
        at_ += taken;
        return static_cast<ssize_t>(taken);
    }
    ssize_t write(const char* data, std::size_t size) override {
        if (!write_until_) write_until_ = now() + limits_.answer_time;
        if (now() >= *write_until_) return -1;
        if (tls_) {
            const int piece = static_cast<int>(std::min<std::size_t>(size, 1 << 20));
            const int sent =
                repeat([&] { return SSL_write(tls_.get(), data, piece); }, *write_until_);
            return sent > 0 ? sent : -1;  // The library would try again after 0, for ever.
        }
        for (;;) {
            const ssize_t sent = send(fd_, data, size, MSG_NOSIGNAL);
            if (sent >= 0 || !may_try_again() || !wait(POLLOUT, *write_until_)) return sent;
        }
    }
    // Nobody asks, and a Unix socket has none.
    void get_remote_ip_and_port(std::string& ip, int& port) const override { no_name(ip, port); }
    void get_local_ip_and_port(std::string& ip, int& port) const override { no_name(ip, port); }
    socket_t socket() const override { return fd_; }

 private:
    static void no_name(std::string& ip, int& port) {
        ip.clear();
        port = 0;
    }
    static bool may_try_again() {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    }
    bool wait(short events, Instant until) const {
        while (!gives_up_) {
            const auto left = std::chrono::ceil<milliseconds>(until - now());
            if (left.count() <= 0) return false;
            pollfd one{fd_, events, 0};
            const int found = poll(&one, 1, static_cast<int>(std::min(left, kLook).count()));
            if (found > 0) return true;
            if (found < 0 && errno != EINTR) return false;
        }
        return false;
    }
    // An operation of OpenSSL, until it need not wait any more; at most 0 when it failed.
    template <class Call>
    int repeat(Call call, Instant until) {
        for (;;) {
            ERR_clear_error();
            const int done = call();
            if (done > 0) return done;
            const int why = SSL_get_error(tls_.get(), done);
            if (why == SSL_ERROR_ZERO_RETURN) return 0;
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return -1;
            if (!wait(why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until)) return -1;
        }
    }
    // Also the end of the time ends a connection that always has something to say.
    ssize_t fill() {
        if (bytes_left_ == 0 || now() >= read_until_) return -1;
        const std::size_t size = std::min(sizeof buffer_, bytes_left_);
        ssize_t got = -1;
        if (tls_) {
            got = repeat([&] { return SSL_read(tls_.get(), buffer_, static_cast<int>(size)); },
                         read_until_);
        } else {
            do {
                got = recv(fd_, buffer_, size, 0);
            } while (got < 0 && may_try_again() && wait(POLLIN, read_until_));
        }
        if (got <= 0) return got;
        at_ = 0;
        filled_ = static_cast<std::size_t>(got);
        bytes_left_ -= filled_;
        without_range_.filter(buffer_, filled_);
        return got;
    }

    const int fd_;
    const ServerLimits& limits_;
    const std::atomic<bool>& gives_up_;
    const Instant read_until_;
    std::optional<Instant> write_until_;  // From the first byte of the answer on.
    std::size_t bytes_left_;
    Tls tls_{nullptr, SSL_free};
    bool is_encrypted_ = false;
    WithoutRange without_range_;
    char buffer_[4096];
    std::size_t at_ = 0;
    std::size_t filled_ = 0;
};

// PEM text, or what the file of that name holds. The name is not repeated: it may be a private key
// in another form.
Result<std::string> pem_of(const std::string& pem_or_path, std::string_view key) {
    if (pem_or_path.find("-----BEGIN") != std::string::npos) return pem_or_path;
    std::ifstream in(pem_or_path, std::ios::binary);
    std::string text(kPemBytesMax, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
    if (!text.empty()) return text;
    return Error(ErrorCode::config,
                 fmt::format("read {}: the file that it names is empty or cannot be read; check "
                             "the path and its mode, or give PEM text",
                             key));
}

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio memory_of(const std::string& text) {
    return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

// A key with a passphrase would make OpenSSL ask for it on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

// The first certificate is ours, those behind it lead to the root.
bool use_chain(SSL_CTX* context, const std::string& pem) {
    const Bio bio = memory_of(pem);
    for (bool is_first = true;; is_first = false) {
        Certificate one(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr), X509_free);
        if (!one) return !is_first;
        if (is_first && SSL_CTX_use_certificate(context, one.get()) != 1) return false;
        if (is_first) continue;
        if (SSL_CTX_add0_chain_cert(context, one.get()) != 1) return false;
        static_cast<void>(one.release());  // The context has it now.
    }
}

bool use_key(SSL_CTX* context, const std::string& pem) {
    const Bio bio = memory_of(pem);
    const PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr),
                         EVP_PKEY_free);
    return key && SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

}  // namespace

Result<TlsContext> make_tls_context(const std::string& cert, const std::string& key) {
    WALBROOK_TRY(const std::string chain, pem_of(cert, "server.tls.cert"));
    WALBROOK_TRY(const std::string secret, pem_of(key, "server.tls.key"));
    TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
    if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) {
        return Error(ErrorCode::internal, "OpenSSL makes no context for a server");
    }
    SSL_CTX_set_mode(context.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // What OpenSSL says of a bad file is dropped: it is of no use, and the file is a secret.
    const auto refuse = [](const char* text) {
        ERR_clear_error();
        return Error(ErrorCode::config, text);
    };
    if (!use_chain(context.get(), chain)) {
        return refuse("server.tls.cert must be a certificate in PEM form, its issuers behind it");
    }
    if (!use_key(context.get(), secret)) {
        return refuse(
            "server.tls.key must be the private key of server.tls.cert in PEM form, without a "
            "passphrase");
    }
    ERR_clear_error();
    return context;
}

// A few threads, and few who wait for them.
class BoundedServer::Connections final : public httplib::TaskQueue {
 public:
    explicit Connections(const ServerLimits& limits)
        : busy_max_(limits.threads + limits.waiting), threads_(limits.threads) {}
    void enqueue(std::function<void()> work) override {
        if (busy_ >= busy_max_) {
            is_full = true;
            work();
            is_full = false;
            return;
        }
        ++busy_;
        threads_.enqueue([this, work = std::move(work)] {
            work();
            --busy_;
        });
    }
    void shutdown() override { threads_.shutdown(); }

 private:
    const std::size_t busy_max_;
    std::atomic<std::size_t> busy_ = 0;
    httplib::ThreadPool threads_;
};

BoundedServer::BoundedServer(const ServerLimits& limits, TlsContext tls)
    : limits_(limits), tls_(std::move(tls)) {
    new_task_queue = [this] { return new Connections(limits_); };  // It takes over.
}

bool BoundedServer::process_and_close_socket(socket_t fd) {
    if (!is_full && !gives_up_) {
        BoundedStream stream(fd, limits_, gives_up_);
        bool is_closed = false;  // A connection is for one request.
        if (!tls_ || stream.encrypt(tls_.get())) process_request(stream, true, is_closed, nullptr);
    }
    shutdown(fd, SHUT_RDWR);
    close(fd);
    return true;
}

}  // namespace walbrook
