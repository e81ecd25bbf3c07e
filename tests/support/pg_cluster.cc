#include "support/pg_cluster.h"

#include "support/eventually.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstdlib>
#include <fcntl.h>
#include <mutex>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace walbrook::testing {
namespace {

namespace fs = std::filesystem;

// Ends and removes what a dead test process left. The postmaster is known by its working
// directory, which is its data folder, so a recycled pid is never hit.
constexpr const char* kGuardScript = R"sh(
read -r never
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
    kill -QUIT "$pid"
    n=0
    while [ -d "/proc/$pid" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
fi
[ -n "$WALBROOK_TEST_KEEP" ] || rm -rf "$1"
)sh";

// Postgres refuses to run as root: then the user postgres does, or one made for it.
std::string server_user() {
    if (geteuid() != 0) return {};
    for (const char* name : {"postgres", "walbrook-test"}) {
        if (getpwnam(name) != nullptr) return name;
    }
    const Finished made = run_program("useradd", {.args = {"-r", "walbrook-test"}});
    if (!made.exit.ok()) throw std::runtime_error("cannot make a user: " + made.output);
    return "walbrook-test";
}

ChildOptions as_user(const std::string& user, const std::string& program,
                     const std::vector<std::string>& args) {
    ChildOptions options;
    if (!user.empty()) {
        options.args = {"--reuid=" + user, "--regid=" + user, "--clear-groups", "env"};
    }
    // Nothing of our environment (PGDATA, LC_*) may change the server.
    for (const char* word : {"-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8"}) {
        options.args.emplace_back(word);
    }
    options.args.push_back(program);
    options.args.insert(options.args.end(), args.begin(), args.end());
    return options;
}

std::string launcher(const std::string& user) { return user.empty() ? "env" : "setpriv"; }

// The folder with bin, lib and share; copied where the server's user cannot reach it.
std::string find_install(int version, const std::string& user) {
    const char* given = std::getenv("WALBROOK_PG_DIR");
    const fs::path install =
        fs::path(given == nullptr ? WALBROOK_TEST_PG_DIR : given) / fmt::format("pg{}", version);
    if (!fs::exists(install / "bin/postgres")) {
        throw std::runtime_error(fmt::format("no Postgres {} at {}: run scripts/deps --tests",
                                             version, install.string()));
    }
    const auto runs = [&](const fs::path& at) {
        return run_program(launcher(user), as_user(user, at / "bin/postgres", {"--version"}))
            .exit.ok();
    };
    if (runs(install)) return install;
    const fs::path copy = fs::temp_directory_path() / fmt::format("walbrook-test-pg{}", version);
    if (!fs::exists(copy)) {
        const fs::path partial = copy.string() + fmt::format(".{}", getpid());
        fs::copy(install, partial, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
        fs::permissions(partial, fs::perms(0755));
        std::error_code lost_race;
        fs::rename(partial, copy, lost_race);
        if (lost_race) fs::remove_all(partial);
    }
    if (!runs(copy)) throw std::runtime_error("cannot run " + copy.string());
    return copy;
}

std::uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    void* raw = &address;
    const bool bound = bind(fd, static_cast<sockaddr*>(raw), size) == 0 &&
                       getsockname(fd, static_cast<sockaddr*>(raw), &size) == 0;
    close(fd);
    if (!bound) throw std::runtime_error("cannot find a free port");
    return ntohs(address.sin_port);
}

void give_to(const std::string& user, const fs::path& path) {
    if (user.empty()) return;
    const passwd* entry = getpwnam(user.c_str());
    if (entry == nullptr || chown(path.c_str(), entry->pw_uid, entry->pw_gid) != 0) {
        throw std::runtime_error("cannot give " + path.string() + " to " + user);
    }
}

}  // namespace

PgCluster::PgCluster(PgClusterOptions options) : PgCluster(std::move(options), FromCopy()) {
    run("initdb", {"-D", data_folder(), "-U", "postgres", "-A", "trust", "-E", "UTF8",
                   "--locale=C.UTF-8", "--no-sync"});
    if (options_.ssl) make_certificate();
    std::string hba;
    for (const std::string& line : options_.hba) hba += line + '\n';
    write_file(data_folder() + "/pg_hba.conf", hba +
                                                   "local all all trust\n"
                                                   "host all all 127.0.0.1/32 trust\n"
                                                   "local replication all trust\n"
                                                   "host replication all 127.0.0.1/32 trust\n");
    write_settings();
    start();
}

PgCluster::PgCluster(PgClusterOptions options, FromCopy)
    : options_(std::move(options)),
      install_(find_install(options_.version, server_user())),
      user_(server_user()),
      folder_(fmt::format("pg{}", options_.version)) {
    prepare();
}

void PgCluster::prepare() {
    fs::permissions(folder_.path(), fs::perms(0755));
    give_to(user_, folder_.path());
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    guard_pipe_ = ends[1];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    // A session of its own: Ctrl-C for the test must not end the guard.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    std::string words[] = {"sh", "-c", kGuardScript, "guard", folder_.path().string()};
    char* args[] = {words[0].data(), words[1].data(), words[2].data(),
                    words[3].data(), words[4].data(), nullptr};
    const int failed = posix_spawn(&guard_, "/bin/sh", &actions, &attributes, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[0]);
    if (failed != 0) throw std::runtime_error("cannot start the guard of a server");
}

PgCluster::~PgCluster() {
    if (is_running()) end(SIGQUIT);
    server_.reset();
    if (guard_pipe_ >= 0) close(guard_pipe_);
    if (guard_ > 0) waitpid(guard_, nullptr, 0);
}

PgCluster& PgCluster::shared(int version) {
    static std::mutex mutex;
    static std::map<int, std::unique_ptr<PgCluster>> clusters;
    const std::lock_guard lock(mutex);
    std::unique_ptr<PgCluster>& cluster = clusters[version];
    if (!cluster) cluster = std::make_unique<PgCluster>(PgClusterOptions{.version = version});
    return *cluster;
}

std::unique_ptr<PgCluster> PgCluster::standby_of(PgCluster& primary) {
    std::unique_ptr<PgCluster> standby(new PgCluster(primary.options_, FromCopy()));
    primary.stop();
    standby->run("/bin/cp", {"-a", primary.data_folder(), standby->data_folder()});
    primary.start();
    const fs::path data = standby->data_folder();
    fs::remove_all(data / "pg_replslot");
    fs::create_directory(data / "pg_replslot");
    give_to(standby->user_, data / "pg_replslot");
    fs::permissions(data / "pg_replslot", fs::perms(0700));
    write_file(data / "standby.signal", "");
    give_to(standby->user_, data / "standby.signal");
    standby->write_settings();
    standby->set("primary_conninfo",
                 fmt::format("host=127.0.0.1 port={} user=postgres", primary.port()));
    standby->set("hot_standby_feedback", "on");
    standby->start();
    return standby;
}

void PgCluster::sync_slots_from(const PgCluster& primary) {
    set("primary_conninfo",
        fmt::format("host=127.0.0.1 port={} user=postgres dbname=postgres", primary.port()));
    set("primary_slot_name", "standby");
    set("sync_replication_slots", "on");
    restart();
}

ChildOptions PgCluster::as_server_user(const std::string& name,
                                       std::vector<std::string> args) const {
    return as_user(user_, name, args);
}

void PgCluster::run(const std::string& name, std::vector<std::string> args) {
    const std::string path = name.front() == '/' ? name : program(name);
    const Finished done = run_program(launcher(user_), as_server_user(path, std::move(args)));
    if (!done.exit.ok()) throw std::runtime_error(name + " failed: " + done.output);
}

void PgCluster::make_certificate() {
    run("/usr/bin/openssl",
        {"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
         data_folder() + "/server.key", "-out", data_folder() + "/server.crt"});
}

void PgCluster::write_settings() {
    std::map<std::string, std::string> settings = {
        {"listen_addresses", "127.0.0.1"},
        {"unix_socket_directories", folder_.path().string()},
        {"fsync", "off"},
        {"full_page_writes", "off"},
        {"wal_level", "logical"},
        {"max_replication_slots", "50"},
        {"max_wal_senders", "50"},
        {"max_connections", "200"},
        {"max_prepared_transactions", "20"},
        {"autovacuum", options_.autovacuum ? "on" : "off"},
        {"shared_buffers", "32MB"},
        {"wal_keep_size", "256MB"},
        {"ssl", options_.ssl ? "on" : "off"},
        {"log_line_prefix", "%m [%p] %a "},
    };
    for (const auto& [name, value] : options_.settings) settings[name] = value;
    write_file(fs::path(data_folder()) / "postgresql.conf", "");
    for (const auto& [name, value] : settings) set(name, value);
}

void PgCluster::set(const std::string& name, const std::string& value) {
    const fs::path path = fs::path(data_folder()) / "postgresql.conf";
    std::string quoted;
    for (const char c : value) quoted += c == '\'' ? "''" : std::string(1, c);
    write_file(path, read_file(path) + fmt::format("{} = '{}'\n", name, quoted));
}

void PgCluster::reload() {
    if (server_) server_->signal(SIGHUP);
}

// False when somebody else took the port between the choice and the start.
bool PgCluster::try_start() {
    const std::string log_file = folder_.file("log");
    const std::size_t log_before = fs::exists(log_file) ? read_file(log_file).size() : 0;
    ChildOptions options =
        as_server_user(program("postgres"), {"-D", data_folder(), "-p", std::to_string(port_)});
    options.output_file = log_file;
    server_ = std::make_unique<ChildProcess>(launcher(user_), options);
    const std::string port = std::to_string(port_);
    const char* const keywords[] = {"host", "port", "dbname", nullptr};
    const char* const values[] = {"127.0.0.1", port.c_str(), "postgres", nullptr};
    const bool answered = eventually(
        [&] { return !server_->is_running() || PQpingParams(keywords, values, 0) == PQPING_OK; });
    if (answered && server_->is_running()) return true;
    const std::string said = read_file(log_file).substr(log_before);
    server_.reset();
    if (said.find("could not bind") != std::string::npos) return false;
    throw std::runtime_error("the server does not start: " + said);
}

void PgCluster::start() {
    if (is_running()) return;
    if (port_ != 0 && try_start()) return;
    for (int attempt = 0; attempt < 10; ++attempt) {
        port_ = free_port();
        if (try_start()) return;
    }
    throw std::runtime_error("no port stays free long enough for a server");
}

void PgCluster::end(int signal) {
    if (!server_) return;
    server_->signal(signal);
    if (!server_->wait(std::chrono::seconds(60))) {
        server_->kill();
        throw std::runtime_error("the server did not stop: " + log());
    }
    server_.reset();
}

void PgCluster::stop() { end(SIGINT); }
void PgCluster::crash() { end(SIGQUIT); }

void PgCluster::kill() {
    if (!server_) return;
    server_->kill();
    server_.reset();
    // Its children notice the death of the postmaster by themselves; a new one refuses to
    // start before they are gone, because they hold the shared memory.
    const fs::path data = fs::path(data_folder());
    const bool gone = eventually([&] {
        for (const auto& process : fs::directory_iterator("/proc")) {
            std::error_code not_ours;
            if (fs::read_symlink(process.path() / "cwd", not_ours) == data) return false;
        }
        return true;
    });
    if (!gone) throw std::runtime_error("backends outlive their killed postmaster");
}

std::string PgCluster::log() const { return read_file(folder_.file("log")); }

PgConnectionConfig PgCluster::connection(const std::string& database) const {
    PgConnectionConfig config;
    config.host = "127.0.0.1";
    config.port = port_;
    config.name = database;
    config.username = "postgres";
    return config;
}

std::string PgCluster::url(const std::string& database) const {
    return fmt::format("postgres://postgres@127.0.0.1:{}/{}", port_, database);
}

std::vector<int> pg_versions() {
    const char* text = std::getenv("WALBROOK_TEST_PG_VERSIONS");
    const std::string_view list = text == nullptr ? "14 18" : text;
    std::vector<int> versions;
    const char* at = list.data();
    const char* const end = at + list.size();
    while (at < end) {
        int version = 0;
        const auto [stop, error] = std::from_chars(at, end, version);
        if (error == std::errc()) versions.push_back(version);
        at = stop == at ? at + 1 : stop;
    }
    if (versions.empty()) throw std::runtime_error("WALBROOK_TEST_PG_VERSIONS names no version");
    return versions;
}

std::vector<int> newest_pg_version() {
    const std::vector<int> versions = pg_versions();
    return {*std::max_element(versions.begin(), versions.end())};
}

std::vector<int> only_from(int first, std::vector<int> versions) {
    std::erase_if(versions, [&](int version) { return version < first; });
    return versions;
}

std::vector<int> only_before(int end, std::vector<int> versions) {
    std::erase_if(versions, [&](int version) { return version >= end; });
    return versions;
}

std::vector<int> versions_with_failover_slots() { return only_from(17, newest_pg_version()); }

}  // namespace walbrook::testing
