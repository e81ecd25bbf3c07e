#pragma once

#include "support/child_process.h"
#include "support/temp_dir.h"
#include "walbrook/config.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace walbrook::testing {

struct PgClusterOptions {
    int version = 18;  // 14 to 18.
    // Lines of postgresql.conf that win over ours, for example {"wal_level", "replica"}.
    std::map<std::string, std::string> settings{};
    // Lines of pg_hba.conf that come before "trust everybody".
    std::vector<std::string> hba{};
    bool autovacuum = false;
    // A self-signed certificate for localhost and 127.0.0.1; see certificate().
    bool ssl = false;
};

// A Postgres server of its own: a data folder under the temporary folder, a free port on
// 127.0.0.1 and a Unix socket, superuser postgres without a password. Stopped and
// removed at destruction; when the test process dies, however it does, a guard outside it
// does both. The servers are those that scripts/deps --tests brings (WALBROOK_PG_DIR:
// another folder with pg14 … pg18 in it).
//
// What goes wrong here is thrown (std::runtime_error): a missing server fails the test.
class PgCluster {
 public:
    explicit PgCluster(PgClusterOptions options);
    ~PgCluster();
    PgCluster(const PgCluster&) = delete;
    PgCluster& operator=(const PgCluster&) = delete;

    // The one server of this version that all tests of the process share, with default
    // options. Its settings must be left as they are.
    static PgCluster& shared(int version);

    // A hot standby that streams from `primary` (which restarts for it), with the same
    // settings and users. Slots are not copied.
    static std::unique_ptr<PgCluster> standby_of(PgCluster& primary);
    // This standby takes over the slots of its primary, which has a physical one for it, "standby".
    void sync_slots_from(const PgCluster& primary);

    int version() const { return options_.version; }
    std::uint16_t port() const { return port_; }
    std::string socket_folder() const { return folder_.path().string(); }
    std::string data_folder() const { return folder_.file("data"); }
    // PEM file of the server's own certificate, which is also its issuer.
    std::string certificate() const { return folder_.file("data/server.crt"); }
    // Over TCP, as superuser.
    PgConnectionConfig connection(const std::string& database = "postgres") const;
    std::string url(const std::string& database = "postgres") const;

    // Ends every session and shuts down cleanly (SIGINT); or at once, as a crash
    // (SIGQUIT); or without any chance (SIGKILL to the postmaster and its children).
    void stop();
    void crash();
    void kill();
    // After stop, crash or kill; same port and data. Returns when sessions are taken.
    void start();
    void restart() {
        stop();
        start();
    }
    bool is_running() { return server_ != nullptr && server_->is_running(); }
    // The server's log so far.
    std::string log() const;
    // Appends to postgresql.conf; needs a restart, or reload() where that is enough.
    void set(const std::string& name, const std::string& value);
    void reload();
    pid_t pid() const { return server_ ? server_->pid() : -1; }

 private:
    struct FromCopy {};
    PgCluster(PgClusterOptions options, FromCopy);
    void prepare();
    void make_certificate();
    void write_settings();
    bool try_start();
    void end(int signal);
    ChildOptions as_server_user(const std::string& program, std::vector<std::string> args) const;
    void run(const std::string& program, std::vector<std::string> args);
    std::string program(const std::string& name) const { return install_ + "/bin/" + name; }

    PgClusterOptions options_;
    std::string install_;
    std::string user_;  // Who runs the server; empty: we ourselves.
    TempDir folder_;
    std::uint16_t port_ = 0;
    std::unique_ptr<ChildProcess> server_;
    int guard_pipe_ = -1;  // The guard acts when this is closed.
    pid_t guard_ = -1;
};

// The versions to test with: WALBROOK_TEST_PG_VERSIONS ("14 15 16 17 18"), by default
// the oldest and the newest.
std::vector<int> pg_versions();
// The newest of them alone, for tests of what does not depend on the server's version.
std::vector<int> newest_pg_version();
// Of these versions those from `first` on, and those before `end`; there may be none.
std::vector<int> only_from(int first, std::vector<int> versions = pg_versions());
std::vector<int> only_before(int end, std::vector<int> versions = pg_versions());
// The newest, if it has slots that a standby takes over.
std::vector<int> versions_with_failover_slots();

}  // namespace walbrook::testing
