// Encrypted connections: every mode, client certificates, and what is said when one is refused.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <stdexcept>
#include <sys/stat.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

void openssl(std::vector<std::string> args) {
    const Finished done = run_program("openssl", {.args = std::move(args)});
    if (!done.exit.ok()) throw std::runtime_error("openssl failed: " + done.output);
}

// A test's own authority, which gives certificates to clients.
class Authority {
 public:
    Authority() {
        openssl({"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
                 "/CN=test authority", "-keyout", file("ca.key"), "-out", file("ca.crt")});
        // The server reads it as another user.
        chmod(folder_.path().c_str(), 0755);
        chmod(file("ca.crt").c_str(), 0644);
    }
    // <name>.crt and <name>.key for that role; `days` may be negative.
    void give(const std::string& name, const std::string& role, int days) {
        openssl({"req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + role, "-keyout",
                 file(name + ".key"), "-out", file(name + ".csr")});
        openssl({"x509", "-req", "-in", file(name + ".csr"), "-CA", file("ca.crt"), "-CAkey",
                 file("ca.key"), "-CAcreateserial", "-days", std::to_string(days), "-out",
                 file(name + ".crt")});
    }
    std::string file(const std::string& name) const { return folder_.file(name); }

 private:
    TempDir folder_{"authority"};
};

// PEM text as a YAML block below a key.
std::string block(const std::string& path) {
    std::string out = "|\n";
    const std::string text = read_file(path);
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t end = std::min(text.find('\n', from), text.size());
        out += "        " + text.substr(from, end - from) + "\n";
        from = end + 1;
    }
    return out;
}

class Tls : public ::testing::TestWithParam<int> {
 protected:
    void SetUp() override {
        authority_.give("w", "cert_role", 30);
        server_ = std::make_unique<PgCluster>(PgClusterOptions{
            .version = GetParam(),
            .settings = {{"ssl_ca_file", authority_.file("ca.crt")}},
            .hba = {"hostnossl all plain_role 127.0.0.1/32 trust",
                    "hostssl all tls_role 127.0.0.1/32 trust",
                    "hostssl all cert_role 127.0.0.1/32 trust clientcert=verify-full",
                    "host all plain_role,tls_role,cert_role 127.0.0.1/32 reject"},
            .ssl = true});
        source_ = std::make_unique<Database>(*server_);
        source_->exec(
            "create role plain_role superuser login; create role tls_role superuser login;"
            "create role cert_role superuser login;"
            "create table item(id int generated always as identity primary key, note text);"
            "insert into item(note) values ('first'); create publication shop for table item");
    }
    std::string connection(const std::string& role, const std::string& tls,
                           const std::string& host = "localhost") const {
        return fmt::format(
            "\n    host: {}\n    port: {}\n    name: {}\n    username: {}\n    tls:\n{}", host,
            server_->port(), source_->name(), role, tls);
    }
    std::string client_by_path(const std::string& name) const {
        return fmt::format("      mode: require\n      client_cert: {}\n      client_key: {}\n",
                           authority_.file(name + ".crt"), authority_.file(name + ".key"));
    }
    void refuse(const std::string& with, int code, const std::string& remedy) {
        SCOPED_TRACE(with);
        Replica replica(*source_);
        replica.connect_with(with);
        EXPECT_EQ(replica.run_until_caught_up().code, code);
        EXPECT_THAT(replica.log(), HasSubstr(remedy));
    }
    // A certificate of the server's own key that ended yesterday.
    void let_the_server_expire() {
        const std::string data = server_->data_folder();
        openssl({"req", "-new", "-key", data + "/server.key", "-subj", "/CN=localhost", "-out",
                 authority_.file("expired.csr")});
        openssl({"x509", "-req", "-in", authority_.file("expired.csr"), "-signkey",
                 data + "/server.key", "-days", "-1", "-out", authority_.file("expired.crt")});
        write_file(data + "/server.crt", read_file(authority_.file("expired.crt")));
        server_->reload();
    }

    Authority authority_;
    std::unique_ptr<PgCluster> server_;
    std::unique_ptr<Database> source_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Tls, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(Tls, EveryModeReplicates) {
    const std::string root = server_->certificate();
    const std::string connections[] = {
        connection("plain_role", "      mode: disable\n"),
        // Refused in the first way that is tried, and taken in the other.
        connection("plain_role", "      mode: prefer\n"),
        connection("tls_role", "      mode: allow\n"),
        connection("tls_role", "      mode: require\n"),
        connection("tls_role", "      mode: verify-ca\n      trusted_root_certs: " + root + "\n"),
        connection("tls_role", "      mode: verify-full\n      trusted_root_certs: " + block(root)),
        // Whoever gives certificates wants them to be used.
        connection("tls_role", "      trusted_root_certs: " + root + "\n"),
        connection("cert_role", client_by_path("w")),
        connection("cert_role",
                   "      mode: verify-full\n      trusted_root_certs: " + block(root) +
                       "      client_cert: " + block(authority_.file("w.crt")) +
                       "      client_key: " + block(authority_.file("w.key"))),
    };
    Replica replica(*source_);
    for (const std::string& each : connections) {
        SCOPED_TRACE(each.substr(0, 200));
        replica.connect_with(each);
        replica.start();
        ASSERT_TRUE(replica.catches_up());
        source_->exec("insert into item(note) values ('next')");
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(replica.difference_of("item"), "");
        const bool is_plain = each.find("plain_role") != std::string::npos;
        EXPECT_EQ(source_->value(fmt::format(
                      "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity a using (pid) "
                      "where a.application_name like 'walbrook:{}:%'",
                      replica.id())),
                  is_plain ? "f" : "t");
        EXPECT_EQ(replica.stop().code, 0);
    }
}

TEST_P(Tls, RefusalsSayWhatToDo) {
    const std::string root = server_->certificate();
    authority_.give("expired", "cert_role", -1);
    authority_.give("stranger", "somebody_else", 30);
    refuse(connection("tls_role", "      mode: disable\n"), 77,
           "encrypted or not as tls.mode says");
    refuse(connection("tls_role", "      mode: verify-ca\n      trusted_root_certs: " +
                                      authority_.file("ca.crt") + "\n"),
           78, "tls.trusted_root_certs does not hold its issuer");
    refuse(connection("tls_role", "      mode: verify-ca\n      trusted_root_certs: /not/there\n"),
           78, "read the certificate file /not/there");
    refuse(fmt::format("\n    url: \"postgres://tls_role@wrong.example:{}/{}?hostaddr=127.0.0.1\"\n"
                       "    tls:\n      mode: verify-full\n      trusted_root_certs: {}\n",
                       server_->port(), source_->name(), root),
           78, "connect by a name that stands in the server's certificate");
    // Verified without being asked to.
    refuse(connection("tls_role", "      trusted_root_certs: " + authority_.file("ca.crt") + "\n"),
           78, "tls.trusted_root_certs does not hold its issuer");
    refuse(connection("tls_role", "      mode: require\n      trusted_root_certs: " +
                                      authority_.file("ca.crt") + "\n"),
           78, "tls.trusted_root_certs does not hold its issuer");
    refuse(fmt::format("\n    url: \"postgres://tls_role@wrong.example:{}/{}?hostaddr=127.0.0.1\"\n"
                       "    tls:\n      trusted_root_certs: {}\n",
                       server_->port(), source_->name(), root),
           78, "connect by a name that stands in the server's certificate");
    refuse(
        connection("tls_role", "      trusted_root_certs: " + root + "\n") +
            "\n  store: {type: postgres}\n  store_pg_connection:" +
            connection("tls_role", "      trusted_root_certs: " + authority_.file("ca.crt") + "\n"),
        78, "tls.trusted_root_certs does not hold its issuer");
    refuse(connection("tls_role", client_by_path("w").substr(client_by_path("w").find('\n') + 1)),
           78, "set tls.trusted_root_certs");
    // A mode that the url names is in effect, too.
    refuse(fmt::format("{{url: \"postgres://cert_role@localhost:{}/{}?sslmode=require\"}}",
                       server_->port(), source_->name()),
           77, "the server's certificate is not checked");
    refuse(connection("cert_role", "      mode: require\n"), 77,
           "give tls.client_cert and tls.client_key");
    refuse(connection("cert_role", client_by_path("stranger")), 77,
           "the common name of tls.client_cert must be the role");
    refuse(connection("cert_role", client_by_path("expired")), 78,
           "our own certificate has expired");
    chmod(authority_.file("w.key").c_str(), 0644);
    refuse(connection("cert_role", client_by_path("w")), 78, "chmod 600");
    PgCluster& bare = PgCluster::shared(GetParam());
    refuse(fmt::format("{{url: \"{}\", tls: {{mode: require}}}}", bare.url()), 78,
           "switch ssl on at the server");
}

// What stands goes on; what must be opened anew says why it cannot.
TEST_P(Tls, AServerCertificateThatExpiresWhileRunning) {
    const std::string verified = connection(
        "tls_role",
        "      mode: verify-full\n      trusted_root_certs: " + server_->certificate() + "\n");
    Replica replica(*source_);
    replica.connect_with(verified);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    let_the_server_expire();
    source_->exec("insert into item(note) values ('meanwhile')");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    source_->exec("select pg_terminate_backend(active_pid) from pg_replication_slots where active");
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 78);
    EXPECT_THAT(replica.log(), HasSubstr("has expired and must be renewed at the server"));
    source_->exec("insert into item(note) values ('later')");
    replica.connect_with(connection("tls_role", "      mode: require\n"));
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
}

}  // namespace
}  // namespace walbrook::testing
