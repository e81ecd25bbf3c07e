// Secrets of a pipeline that runs, and of one that is refused: nobody but the server it is for sees
// any of them.

#include "integration/replica.h"
#include "server/control_server.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <sstream>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Names of what holds a secret: the mark of the passwords, or lines of a key.
class Finder {
 public:
    explicit Finder(std::vector<std::string> secrets) : secrets_(std::move(secrets)) {
        secrets_.emplace_back("Pl4nted");
    }
    void look(const std::string& where, const std::string& text) {
        for (const std::string& secret : secrets_) {
            const std::size_t at = text.find(secret);
            if (at == std::string::npos) continue;
            found_.push_back(where + ": " + text.substr(at < 100 ? 0 : at - 100, 200));
        }
    }
    void look_in_folder(const std::filesystem::path& folder) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
            look("a name", entry.path().string());
            if (entry.is_regular_file()) look(entry.path().string(), read_file(entry.path()));
        }
    }
    void look_at_process(pid_t pid) {
        const std::string proc = fmt::format("/proc/{}/", pid);
        for (const char* file : {"cmdline", "comm", "environ"}) {
            look(file, read_file(proc + file));
        }
        for (const auto& thread : std::filesystem::directory_iterator(proc + "task")) {
            std::error_code gone;
            if (std::filesystem::exists(thread.path() / "comm", gone)) {
                look("a thread", read_file(thread.path() / "comm"));
            }
        }
    }
    const std::vector<std::string>& found() const { return found_; }

 private:
    std::vector<std::string> secrets_;
    std::vector<std::string> found_;
};

// Three logins with passwords, and databases for what each is for.
class Secrets : public ::testing::TestWithParam<int> {
 protected:
    void SetUp() override {
        server_ = std::make_unique<PgCluster>(
            PgClusterOptions{.version = GetParam(),
                             .hba = {"host all source_w,store_w,lake_w all scram-sha-256"},
                             .ssl = true});
        source_ = std::make_unique<Database>(*server_);
        store_ = std::make_unique<Database>(*server_);
        lake_ = std::make_unique<Database>(*server_);
        source_->exec(
            fmt::format("create role source_w superuser login password 'Pl4nted source''s pass';"
                        "create role store_w login password 'Pl4nted@store'; "
                        "create role lake_w login password 'Pl4nted lake''s \\ pass';"
                        "alter database {} owner to store_w; alter database {} owner to lake_w;"
                        "create table item(id int primary key, note text);"
                        "insert into item select g, 'x' from generate_series(1, 100) g;"
                        "create publication shop for table item",
                        store_->name(), lake_->name()));
        source_->exec("alter role source_w set log_statement = 'all'");
        TempDir& files = files_;
        write_file(files.file("pg"), "Pl4nted source's pass\n");
        write_file(files.file("token"), "Pl4nted-token-of-the-server\n");
        const Finished made = run_program(
            "openssl", {.args = {"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                                 "-subj", "/CN=localhost", "-keyout", files.file("Pl4nted.key"),
                                 "-out", files.file("server.crt")}});
        ASSERT_TRUE(made.exit.ok()) << made.output;
        std::filesystem::rename(files.file("Pl4nted.key"), files.file("server.key"));
        client_key_ = read_file(files.file("server.key"));
    }
    std::vector<std::string> lines_of_key() const {
        std::vector<std::string> lines;
        std::istringstream in(client_key_);
        for (std::string line; std::getline(in, line);) {
            if (line.size() == 64) lines.push_back(line);
        }
        EXPECT_GT(lines.size(), 10U);
        return lines;
    }
    // With the passwords and the key that are right, or some that are not.
    std::unique_ptr<Replica> replica(const std::string& source, const std::string& store,
                                     const std::string& lake) {
        write_file(files_.file("pg"), source + "\n");
        auto made = std::make_unique<Replica>(*source_);
        made->connect_with(fmt::format(
            "{{host: 127.0.0.1, port: {}, name: {}, username: source_w, password_file: '{}', "
            "tls: {{mode: require, client_cert: \"{}\", client_key: \"{}\"}}}}",
            server_->port(), source_->name(), files_.file("pg"),
            in_one_line(read_file(files_.file("server.crt"))), in_one_line(client_key_)));
        made->configure("store: {type: postgres}");
        made->configure(
            fmt::format("store_pg_connection: {{url: 'postgres://store_w:{}@127.0.0.1:{}/{}'}}",
                        store, server_->port(), store_->name()));
        // In libpq's quotes, within YAML's.
        made->use_catalog(
            fmt::format("postgres:host=127.0.0.1 port={} user=lake_w password='{}' dbname={}",
                        server_->port(), lake, lake_->name()));
        made->set_environment("WALBROOK__LOG__LEVEL", "debug");
        made->set_environment("WALBROOK__SERVER__LISTEN", "127.0.0.1:0");
        made->set_environment("WALBROOK__SERVER__TOKEN_FILE", files_.file("token"));
        made->set_environment("WALBROOK__SERVER__TLS__CERT", files_.file("server.crt"));
        made->set_environment("WALBROOK__SERVER__TLS__KEY", files_.file("server.key"));
        return made;
    }
    // As YAML has it between double quotes.
    static std::string in_one_line(std::string text) {
        for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
            text.replace(at, 1, "\\n");
        }
        return text;
    }
    static void look_at_commands(Finder& finder, Replica& replica) {
        const std::vector<std::vector<std::string>> commands = {
            {"config", "show"},
            {"status"},
            {"status", "--json"},
            {"verify"},
            {"init"},
            {"resync", "public.none"},
            {"resync", "public.item"},
        };
        for (const auto& args : commands) finder.look(args[0], replica.run(args).output);
    }
    // What a process that lives says of itself, once it names the problem that it has.
    static void look_at_answers(Finder& finder, Replica& replica, const std::string& problem) {
        ASSERT_TRUE(replica.shows_problem(problem)) << replica.log();
        for (const char* path : {"/metrics", "/api/v1/status", "/readyz"}) {
            const auto answer = ask_control_socket(replica.work_dir(), path);
            // Not being ready is an error of the one who asks.
            EXPECT_TRUE(answer || path == std::string("/readyz")) << path;
            finder.look(path, answer ? *answer : answer.error().message());
        }
        const std::vector<std::vector<std::string>> commands = {{"status"}, {"status", "--json"}};
        for (const auto& args : commands) {
            const Finished status = replica.run(args);
            EXPECT_EQ(status.exit.code, 0) << status.output;
            EXPECT_THAT(status.output, HasSubstr(problem));
            finder.look("status", status.output);
        }
        finder.look_at_process(replica.process().pid());
        finder.look_in_folder(replica.work_dir());
        finder.look("the log", replica.log());
    }

    TempDir files_{"secrets"};
    std::string client_key_;  // The HTTP server's, too, and given as text.
    std::unique_ptr<PgCluster> server_;
    std::unique_ptr<Database> source_;
    std::unique_ptr<Database> store_;
    std::unique_ptr<Database> lake_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Secrets, ::testing::ValuesIn(newest_pg_version()), version_name);

constexpr const char* kSourcePassword = "Pl4nted source's pass";
constexpr const char* kStorePassword = "Pl4nted%40store";
constexpr const char* kLakePassword = "Pl4nted lake\\\\'s \\\\\\\\ pass";

TEST_P(Secrets, OfAPipelineThatRunsStayWithIt) {
    auto running = replica(kSourcePassword, kStorePassword, kLakePassword);
    Finder finder(lines_of_key());
    running->start();
    ASSERT_TRUE(running->catches_up());
    ASSERT_TRUE(running->is_running()) << running->log();
    source_->exec("update item set note = 'y'");
    ASSERT_TRUE(running->catches_up());
    look_at_commands(finder, *running);
    const std::string work = running->work_dir();
    for (const char* path : {"/metrics", "/api/v1/status", "/readyz"}) {
        const auto answer = ask_control_socket(work, path);
        ASSERT_TRUE(answer) << path;
        finder.look(path, *answer);
    }
    finder.look_at_process(running->process().pid());
    for (const auto& row : source_->query("select application_name, query from pg_stat_activity "
                                          "where pid <> pg_backend_pid()")) {
        finder.look("pg_stat_activity", row[0] + row[1]);
    }
    finder.look_in_folder(work);
    EXPECT_EQ(running->stop().code, 0);
    finder.look("the log", running->log());
    EXPECT_THAT(running->log(), HasSubstr("\"tls\":\"true\""));
    for (Database* database : {lake_.get(), store_.get()}) {
        for (const auto& table : database->query(
                 "select format('%I.%I', schemaname, relname) from pg_stat_user_tables")) {
            for (const auto& row : database->query("select t::text from " + table[0] + " t")) {
                finder.look(table[0], row[0]);
            }
        }
    }
    EXPECT_THAT(finder.found(), IsEmpty());
}

TEST_P(Secrets, AreNotInWhatIsSaidOfARefusal) {
    Finder finder(lines_of_key());
    const auto refuse = [&](const std::string& source, const std::string& store,
                            const std::string& lake, const std::string& says) {
        SCOPED_TRACE(says);
        auto refused = replica(source, store, lake);
        refused->start({"--timeout", "0.5"});
        ASSERT_TRUE(refused->process().wait().has_value());
        EXPECT_THAT(refused->log(), HasSubstr(says));
        finder.look("the log", refused->log());
        look_at_commands(finder, *refused);
        finder.look_in_folder(refused->work_dir());
    };
    refuse("Pl4nted wrong", kStorePassword, kLakePassword,
           "password authentication failed for user \\\"source_w\\\"");
    refuse(kSourcePassword, "Pl4nted%40wrong", kLakePassword,
           "password authentication failed for user \\\"store_w\\\"");
    refuse(kSourcePassword, kStorePassword, "Pl4nted wrong",
           "password authentication failed for user \\\"lake_w\\\"");
    refuse(kSourcePassword, kStorePassword, "Pl4nted' dbname='no such' options='",
           "destination.ducklake.catalog");
    refuse(kSourcePassword, kStorePassword, "Pl4nted' host='no.such.host' port='1", "attach");
    client_key_.erase(client_key_.find('\n') + 1, 65);  // Its first line of data.
    refuse(kSourcePassword, kStorePassword, kLakePassword,
           "tls.client_key must be the key of tls.client_cert");
    EXPECT_THAT(finder.found(), IsEmpty());
}

// A process that cannot begin, and one that cannot go on, say why until that is over.
TEST_P(Secrets, AreNotInTheStatusOfAPipelineInTrouble) {
    Finder finder(lines_of_key());
    const auto limit = [&](const std::string& role, int sessions) {
        // "too many connections for role …"
        source_->exec(fmt::format("alter role {} connection limit {}", role, sessions));
        source_->exec(
            fmt::format("select pg_terminate_backend(pid) from pg_stat_activity where "
                        "usename = '{}'",
                        role));
    };
    auto running = replica(kSourcePassword, kStorePassword, kLakePassword);
    for (const std::string role : {"store_w", "lake_w"}) {
        SCOPED_TRACE("not begun: " + role);
        limit(role, 0);
        running->start();
        look_at_answers(finder, *running, role);
        if (HasFatalFailure()) return;
        limit(role, -1);
        ASSERT_TRUE(running->catches_up()) << running->log();
        EXPECT_EQ(running->stop().code, 0);
    }
    running->start();
    for (const std::string role : {"store_w", "lake_w"}) {
        SCOPED_TRACE("cannot go on: " + role);
        source_->exec("update item set note = note || 'z'");
        ASSERT_TRUE(running->catches_up()) << running->log();
        limit(role, 0);
        source_->exec("update item set note = note || 'z'");
        look_at_answers(finder, *running, role);
        if (HasFatalFailure()) return;
        limit(role, -1);
    }
    ASSERT_TRUE(running->catches_up()) << running->log();
    server_->crash();
    look_at_answers(finder, *running, "failed: Connection refused");
    server_->start();
    EXPECT_TRUE(running->catches_up()) << running->log();
    EXPECT_EQ(running->stop().code, 0);
    EXPECT_THAT(finder.found(), IsEmpty());
}

}  // namespace
}  // namespace walbrook::testing
