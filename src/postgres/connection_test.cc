#include "postgres/connection.h"

#include "postgres/connect_options.h"
#include "postgres/sqlstate.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace walbrook {
namespace {

TEST(Sqlstate, ExactCodesWinOverTheirClasses) {
    struct Case {
        const char* sqlstate;
        ErrorCode code;
    };
    for (const auto& [sqlstate, code] : std::initializer_list<Case>{
             {"", ErrorCode::unavailable},          {"08006", ErrorCode::unavailable},
             {"08P01", ErrorCode::config},          {"22P02", ErrorCode::malformed},
             {"25006", ErrorCode::config},          {"28P01", ErrorCode::permission},
             {"28000", ErrorCode::permission},      {"3D000", ErrorCode::config},
             {"40001", ErrorCode::aborted},         {"40P01", ErrorCode::aborted},
             {"42501", ErrorCode::permission},      {"42704", ErrorCode::config},
             {"42P01", ErrorCode::schema_mismatch}, {"42703", ErrorCode::schema_mismatch},
             {"42883", ErrorCode::internal},        {"53300", ErrorCode::throttled},
             {"53200", ErrorCode::unavailable},     {"55006", ErrorCode::unavailable},
             {"55P03", ErrorCode::conflict},        {"57014", ErrorCode::aborted},
             {"57P01", ErrorCode::unavailable},     {"57P03", ErrorCode::unavailable},
             {"58P01", ErrorCode::missing_slot},    {"XX000", ErrorCode::aborted},
             {"ZZ999", ErrorCode::unavailable}}) {
        EXPECT_EQ(error_code_of_sqlstate(sqlstate), code) << sqlstate;
    }
}

std::string option(const ConnectOptions& options, std::string_view keyword) {
    const auto keywords = options.keywords();
    const auto values = options.values();
    std::string last = "(none)";
    for (std::size_t i = 0; keywords[i] != nullptr; ++i) {
        if (keywords[i] == keyword) last = values[i];
    }
    return last;
}

TEST(ConnectOptions, SingleValuesWinOverTheUrl) {
    PgConnectionConfig config;
    config.url = "postgres://u:secret@h:5/d?sslmode=require&options=-c%20work_mem%3D8MB";
    config.port = 6;
    auto options =
        ConnectOptions::create(config, {.application_name = "walbrook:1:t", .replication = true});
    ASSERT_TRUE(options);
    EXPECT_STREQ(options->keywords().front(), "dbname");
    EXPECT_EQ(option(*options, "port"), "6");
    EXPECT_EQ(option(*options, "host"), "(none)");
    EXPECT_EQ(option(*options, "sslmode"), "require");  // The default does not hide the url's.
    EXPECT_EQ(option(*options, "tcp_user_timeout"), "60000");
    EXPECT_EQ(option(*options, "options").rfind("-c work_mem=8MB -c datestyle=ISO", 0), 0U);
    EXPECT_EQ(options->password(), "secret");
    config.tls.mode = "verify-full";
    options = ConnectOptions::create(config, {.application_name = "a"});
    EXPECT_EQ(option(*options, "sslmode"), "verify-full");
    EXPECT_EQ(option(*options, "options"), "(none)");  // A common session says SET instead.
}

// libpq's own message would repeat what stands where it expects a port.
TEST(ConnectOptions, ABadUrlIsNotRepeated) {
    for (const char* url : {"postgres://u:sec/ret@h/d", "postgres://u:secret@h:port/d",
                            "postgres://u:sec%zzret@h/d", "secret", "host=h secret"}) {
        PgConnectionConfig config;
        config.url = url;
        const auto options = ConnectOptions::create(config, {.application_name = "a"});
        ASSERT_FALSE(options) << url;
        EXPECT_EQ(options.error().code(), ErrorCode::config);
        EXPECT_EQ(options.error().message().find("sec"), std::string::npos);
    }
}

TEST(ConnectOptions, CertificatesMakeTheServerVerified) {
    PgConnectionConfig config;
    config.tls.trusted_root_certs = "-----BEGIN CERTIFICATE-----";
    const auto mode = [&] {
        const auto options = ConnectOptions::create(config, {.application_name = "a"});
        return options ? option(*options, "sslmode") : options.error().message();
    };
    EXPECT_EQ(mode(), "verify-full");
    config.url = "postgres://u@h/d";
    EXPECT_EQ(mode(), "verify-full");
    config.url = "postgres://u@h/d?sslmode=verify-ca";
    EXPECT_EQ(mode(), "verify-ca");
    config.tls.mode = "require";
    EXPECT_EQ(mode(), "require");
}

// As for every other program with libpq, and in both forms of a connection.
TEST(ConnectOptions, TheEnvironmentsModeCountsWhereNothingElseIsSaid) {
    ASSERT_EQ(setenv("PGSSLMODE", "verify-ca", 1), 0);
    PgConnectionConfig config;
    for (const char* url : {"", "postgres://u@h/d"}) {
        config.url = url;
        EXPECT_EQ(option(*ConnectOptions::create(config, {.application_name = "a"}), "sslmode"),
                  "verify-ca");
    }
    config.url = "postgres://u@h/d?sslmode=disable";
    EXPECT_EQ(tls_mode_of(config), "disable");
    config.tls.mode = "require";
    EXPECT_EQ(tls_mode_of(config), "require");
    // Libpq takes a service's before the environment's, and both only where no mode is passed.
    config.tls.mode = "prefer";
    config.url = "postgres://u@h/d?service=s";
    EXPECT_EQ(option(*ConnectOptions::create(config, {.application_name = "a"}), "sslmode"),
              "(none)");
    ASSERT_EQ(setenv("PGSERVICE", "s", 1), 0);
    EXPECT_EQ(option(*ConnectOptions::create({}, {.application_name = "a"}), "sslmode"), "(none)");
    config.tls.client_cert = "-----BEGIN CERTIFICATE-----\n";
    EXPECT_EQ(option(*ConnectOptions::create(config, {.application_name = "a"}), "sslmode"),
              "verify-full");
    unsetenv("PGSERVICE");
    unsetenv("PGSSLMODE");
    EXPECT_EQ(tls_mode_of({}), "prefer");
    EXPECT_EQ(option(*ConnectOptions::create({}, {.application_name = "a"}), "sslmode"), "(none)");
}

TEST(ConnectOptions, TheModeOfAUrlIsWhatLibpqReads) {
    const auto mode = [](const char* url) { return url_value(url, "sslmode"); };
    EXPECT_EQ(mode(""), "");
    EXPECT_EQ(mode("postgres://u@h/d"), "");
    EXPECT_EQ(mode("postgres://u@h/d?sslmode=prefer"), "prefer");
    EXPECT_EQ(mode("postgres://u@h/d?application_name=a&%73slmode=disable"), "disable");
    EXPECT_EQ(mode("postgres://u@h/d?ssl=true"), "require");
    EXPECT_EQ(mode("postgres://u:sslmode=disable@h/d"), "");
    EXPECT_EQ(mode("postgres://h/d?options=-c%20a.sslmode=disable"), "");
}

// A file with a name would stay behind when the process is killed.
TEST(ConnectOptions, PemTextGoesToAFileWithoutAName) {
    const std::string pem = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n";
    PgConnectionConfig config;
    config.tls.trusted_root_certs = pem;
    std::string path;
    {
        const auto options = ConnectOptions::create(config, {.application_name = "a"});
        ASSERT_TRUE(options);
        path = option(*options, "sslrootcert");
        struct stat info{};
        ASSERT_EQ(stat(path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0600U);
        EXPECT_EQ(info.st_nlink, 0U);
        std::ifstream in(path);
        EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), pem);
    }
    EXPECT_NE(access(path.c_str(), F_OK), 0);
    config.tls.trusted_root_certs = "/does/not/exist.pem";
    EXPECT_EQ(ConnectOptions::create(config, {.application_name = "a"}).error().code(),
              ErrorCode::config);
}

TEST(ConnectError, FindsTheSqlstateAndHidesThePassword) {
    const Error error = connect_error(
        "connection to server at \"127.0.0.1\", port 1 failed: FATAL:  28P01: password "
        "authentication failed for user \"bob\" hunter2\nLOCATION:  auth_failed, auth.c:338\n",
        "hunter2");
    EXPECT_EQ(error.code(), ErrorCode::permission);
    EXPECT_EQ(error.sqlstate(), "28P01");
    EXPECT_EQ(
        error.message(),
        "connection to server at \"127.0.0.1\", port 1 failed: FATAL:  password "
        "authentication failed for user \"bob\" *** (if the password was changed, put the new "
        "one into pg_connection.password or password_file, then start walbrook again)");
    EXPECT_EQ(connect_error("could not connect: Connection refused\n", "").code(),
              ErrorCode::unavailable);
}

TEST(Connection, NobodyListeningIsUnavailableAndAStopIsPrompt) {
    PgConnectionConfig config;
    config.host = "127.0.0.1";
    config.port = 1;
    config.password = "hunter2";
    auto refused =
        Connection::open(config, {.application_name = "a"}, within(std::chrono::seconds(5)));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
    EXPECT_EQ(refused.error().message().find("hunter2"), std::string::npos);
    std::stop_source stop;
    stop.request_stop();
    refused = Connection::open(config, {.application_name = "a"},
                               within(std::chrono::seconds(5), stop.get_token()));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::cancelled);
}

// Listens, so that TCP connects, and says nothing: what a paused server looks like.
TEST(Connection, ASilentServerEndsAtTheDeadlineOrTheStop) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    void* raw = &address;
    ASSERT_EQ(bind(listener, static_cast<sockaddr*>(raw), size), 0);
    ASSERT_EQ(listen(listener, 5), 0);
    ASSERT_EQ(getsockname(listener, static_cast<sockaddr*>(raw), &size), 0);
    PgConnectionConfig config;
    config.host = "127.0.0.1";
    config.port = ntohs(address.sin_port);
    auto silent =
        Connection::open(config, {.application_name = "a"}, within(std::chrono::milliseconds(50)));
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code(), ErrorCode::timed_out);
    std::stop_source stop;
    std::jthread stopper([&] { stop.request_stop(); });
    silent = Connection::open(config, {.application_name = "a"},
                              within(std::chrono::seconds(600), stop.get_token()));
    ASSERT_FALSE(silent);
    EXPECT_EQ(silent.error().code(), ErrorCode::cancelled);
    close(listener);
}

TEST(Fields, ReadingWithoutARowFailsInsteadOfReadingBeyond) {
    const Rows none;
    Fields fields(none, 0);
    EXPECT_EQ(fields.u32(), 0U);
    EXPECT_EQ(fields.text(), "");
    EXPECT_EQ(fields.finish("read").error().code(), ErrorCode::internal);
}

}  // namespace
}  // namespace walbrook
