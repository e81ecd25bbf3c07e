#include "server/control_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include <arpa/inet.h>
#include <filesystem>
#include <fstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace walbrook {
namespace {

using testing::HasSubstr;

StatusReport sample() {
    StatusReport report{"1.2.3", 7, "shop", "ducklake", {}};
    PipelineStatus& status = report.pipeline;
    status.state = "streaming";
    status.received = Lsn{0x300};
    status.durable = Lsn{0x200};
    status.confirmed = Lsn{0x100};
    status.source_end = Lsn{0x400};
    status.lag_bytes = 0x200;
    status.lag_ms = 1500;
    status.changes_received = 12;
    status.flushes = 3;
    status.transactions = 4;
    status.memory_bytes = 99;
    status.memory_state = "paused";
    status.memory_limit_bytes = 1000;
    status.memory_used_bytes = 900;
    status.memory_short_ms = 2500;
    status.memory_short_times = 3;
    status.problems = {"slot is far behind"};
    status.tables.resize(2);
    status.tables[0] = {
        TableId{16384}, "public", "a\"b\\c\nd", TablePhase::ready, 5, 6, 7, 8, false, "", ""};
    status.tables[1] = {TableId{16385}, "s",   "t",   TablePhase::errored, 0, 0, 0, 0,
                        true,           "why", "what"};
    report.verify.schedule = "24h";
    report.verify.next_at_secs = 1'800'086'400;
    report.verify.failures = 2;
    report.verify.error = "the source was away";
    report.verify.began_at_secs = 1'800'000'000;
    report.verify.took_ms = 3500;
    report.verify.position = Lsn{0x200};
    report.verify.equal = 5;
    report.verify.different = 1;
    report.verify.not_compared = 1;
    report.verify.tables = {
        {"public", "a\"b", "different", "", Lsn{0x200}, 9, true, 1'800'000'000},
        {"s", "t", "not compared", "it stands still", Lsn{}, 0, false, 1'800'000'000}};
    return report;
}

class ControlServerTest : public testing::Test {
 protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "walbrook.XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    Result<std::unique_ptr<ControlServer>> serve(const std::string& listen = "off") const {
        return ControlServer::create({folder_, listen}, sample, Logger());
    }
    std::string folder_;
};

TEST(StatusReport, SurvivesJson) {
    const StatusReport before = sample();
    const auto after = status_report_from_json(to_json(before));
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_EQ(to_json(*after), to_json(before));
    EXPECT_EQ(after->pipeline.tables[1].phase, TablePhase::errored);
    EXPECT_EQ(after->pipeline.confirmed, Lsn{0x100});
    EXPECT_EQ(after->verify.tables[0].differing_rows, 9U);
}

TEST(StatusReport, RefusesEveryTruncationAndMissingMember) {
    const std::string text = to_json(sample());
    for (std::size_t n = 0; n + 2 < text.size(); ++n) {
        EXPECT_FALSE(status_report_from_json(std::string_view(text).substr(0, n))) << n;
    }
    const auto whole = nlohmann::json::parse(text);
    for (const auto& [name, value] : whole.items()) {
        auto without = whole;
        without.erase(name);
        EXPECT_FALSE(status_report_from_json(without.dump())) << name;
        without[name] = nullptr;
        EXPECT_FALSE(status_report_from_json(without.dump())) << name;
    }
}

// Both programs need not be of one version: keys are only added.
TEST(StatusReport, OfANewerProgramIsUnderstoodAndOfAnOlderOneSaysWhy) {
    auto json = nlohmann::json::parse(to_json(sample()));
    json["of_the_next_version"] = {{"more", 1}};
    json["tables"][0]["of_the_next_version"] = 2;
    const auto newer = status_report_from_json(json.dump());
    ASSERT_TRUE(newer) << newer.error().message();
    EXPECT_EQ(to_json(*newer), to_json(sample()));
    json.erase("memory_state");
    const auto older = status_report_from_json(json.dump());
    ASSERT_FALSE(older);
    EXPECT_THAT(older.error().message(), HasSubstr("are both programs of the same version?"));
}

TEST(StatusReport, NamesThatAreNoUtf8StayJson) {
    StatusReport report = sample();
    report.pipeline.tables[0].name = "a\xff";
    EXPECT_TRUE(status_report_from_json(to_json(report)));
}

TEST(Metrics, FollowThePrometheusTextFormat) {
    const std::string text = to_prometheus(sample());
    EXPECT_THAT(
        text,
        HasSubstr("# TYPE walbrook_lag_seconds gauge\nwalbrook_lag_seconds{pipeline=\"7\"} 1.5\n"));
    EXPECT_THAT(text, HasSubstr("walbrook_state{pipeline=\"7\",state=\"streaming\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("walbrook_table_phase{pipeline=\"7\",schema=\"public\","
                                "table=\"a\\\"b\\\\c\\nd\",phase=\"ready\"} 1\n"));
    for (const char* line : {"walbrook_memory_backpressure_active{pipeline=\"7\"} 1\n",
                             "walbrook_memory_backpressure_activations_total{pipeline=\"7\"} 3\n",
                             "walbrook_memory_backpressure_seconds_total{pipeline=\"7\"} 2.5\n",
                             "walbrook_memory_used_bytes{pipeline=\"7\"} 900\n",
                             "walbrook_memory_limit_bytes{pipeline=\"7\"} 1000\n"}) {
        EXPECT_THAT(text, HasSubstr(line));
    }
    for (const char* line : {"walbrook_verify_running{pipeline=\"7\"} 0\n",
                             "walbrook_verify_next_timestamp_seconds{pipeline=\"7\"} 1800086400\n",
                             "walbrook_verify_failures_total{pipeline=\"7\"} 2\n",
                             "walbrook_verify_last_timestamp_seconds{pipeline=\"7\"} 1800000000\n",
                             "walbrook_verify_last_duration_seconds{pipeline=\"7\"} 3.5\n",
                             "walbrook_verify_last_lsn_bytes{pipeline=\"7\"} 512\n",
                             "walbrook_verify_tables{pipeline=\"7\",outcome=\"equal\"} 5\n",
                             "walbrook_verify_tables{pipeline=\"7\",outcome=\"different\"} 1\n",
                             "walbrook_verify_differing_rows{pipeline=\"7\",schema=\"public\","
                             "table=\"a\\\"b\"} 9\n"}) {
        EXPECT_THAT(text, HasSubstr(line));
    }
    StatusReport unasked = sample();
    unasked.verify = {};
    EXPECT_THAT(to_prometheus(unasked), testing::Not(HasSubstr("verify")));
    StatusReport ample = sample();
    ample.pipeline.memory_state = "ample";
    EXPECT_THAT(to_prometheus(ample),
                HasSubstr("walbrook_memory_backpressure_active{pipeline=\"7\"} 0\n"));
    // Every family has one HELP and one TYPE, and every line belongs to the last of them.
    std::istringstream in(text);
    std::string family;
    std::set<std::string> seen;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("# HELP ")) {
            family = line.substr(7, line.find(' ', 7) - 7);
            EXPECT_TRUE(seen.insert(family).second) << family;
        } else if (!line.starts_with("# TYPE ")) {
            EXPECT_TRUE(line.starts_with(family + "{")) << line;
        }
    }
}

TEST(Api, ReadinessFollowsTheState) {
    StatusReport report = sample();
    const auto ask = [&](const char* path) { return answer(path, [&] { return report; }); };
    EXPECT_EQ(ask("/readyz").status, 200);
    EXPECT_EQ(ask("/livez").status, 200);
    for (const char* state : {"starting", "reconnecting", "retrying", "draining", "stopped"}) {
        report.pipeline.state = state;
        EXPECT_EQ(ask("/readyz").status, 503);
        EXPECT_THAT(ask("/readyz").body, HasSubstr(state));
        EXPECT_THAT(ask("/readyz").body, HasSubstr("slot is far behind"));
        EXPECT_EQ(ask("/livez").status, 200);
    }
    EXPECT_EQ(ask("/").status, 404);
    EXPECT_EQ(ask("/api/v1/statuses").status, 404);
}

TEST_F(ControlServerTest, AnswersOnTheSocketWhichIsPrivate) {
    const auto server = serve();
    ASSERT_TRUE(server) << server.error().message();
    struct stat found{};
    ASSERT_EQ(stat(control_socket_path(folder_).c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777, 0600U);
    const auto body = ask_control_socket(folder_, "/api/v1/status");
    ASSERT_TRUE(body) << body.error().message();
    EXPECT_EQ(*body, to_json(sample()));
    EXPECT_EQ(ask_control_socket(folder_, "/nothing").error().code(), ErrorCode::malformed);
    EXPECT_EQ((*server)->address(), "");
}

TEST_F(ControlServerTest, SaysWhenNobodyAnswers) {
    const auto none = ask_control_socket(folder_, "/api/v1/status");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), ErrorCode::unavailable);
    EXPECT_THAT(none.error().message(), HasSubstr(control_socket_path(folder_)));
    EXPECT_FALSE(ask_control_socket(folder_ + "/missing", "/livez"));
}

TEST_F(ControlServerTest, RemovesItsSocketAndReplacesAStaleOne) {
    {
        ASSERT_TRUE(serve());
    }
    EXPECT_FALSE(std::filesystem::exists(control_socket_path(folder_)));
    // What a killed process leaves: a socket file that nobody listens on.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    control_socket_path(folder_).copy(address.sun_path, sizeof address.sun_path - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    close(fd);
    ASSERT_FALSE(ask_control_socket(folder_, "/livez"));
    const auto server = serve();
    ASSERT_TRUE(server) << server.error().message();
    EXPECT_TRUE(ask_control_socket(folder_, "/livez"));
}

TEST_F(ControlServerTest, ASecondOneInTheSameFolderIsRefused) {
    const auto first = serve();
    ASSERT_TRUE(first);
    const auto second = serve();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::conflict);
    EXPECT_TRUE(ask_control_socket(folder_, "/livez")) << "the first one must not be disturbed";
}

TEST_F(ControlServerTest, ManagesPathsLongerThanASocketAddress) {
    const std::string top = folder_;
    for (int i = 0; i < 20; ++i) folder_ += "/a_rather_long_name";
    std::filesystem::create_directories(folder_);
    {
        const auto server = serve();
        ASSERT_TRUE(server) << server.error().message();
        EXPECT_TRUE(ask_control_socket(folder_, "/livez"));
    }
    EXPECT_FALSE(std::filesystem::exists(control_socket_path(folder_)));
    folder_ = top;
}

TEST_F(ControlServerTest, ServesTcpAndKeepsThePortToItself) {
    const auto server = serve("127.0.0.1:0");
    ASSERT_TRUE(server) << server.error().message();
    std::string host;
    int port = 0;
    ASSERT_TRUE(split_address((*server)->address(), host, port));
    httplib::Client client(host, port);
    EXPECT_EQ(client.Get("/livez")->status, 200);
    EXPECT_EQ(client.Get("/readyz")->status, 200);
    EXPECT_EQ(client.Get("/metrics")->body, to_prometheus(sample()));
    EXPECT_EQ(client.Get("/api/v1/status")->get_header_value("Content-Type"), "application/json");
    EXPECT_EQ(client.Get("/api/v1/status?x=1")->status, 200);
    EXPECT_EQ(client.Get("/../etc/passwd")->status, 404);
    EXPECT_EQ(client.Head("/livez")->status, 200);
    EXPECT_EQ(client.Post("/api/v1/status", "x", "text/plain")->status, 405);
    std::filesystem::create_directory(folder_ + "/other");
    const auto second =
        ControlServer::create({folder_ + "/other", (*server)->address()}, sample, Logger());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::config);
    EXPECT_THAT(second.error().message(), HasSubstr("in use; set server.listen"));
}

TEST_F(ControlServerTest, RefusesLargeRequestsAndOutlivesSilentClients) {
    const auto server = serve("127.0.0.1:0");
    ASSERT_TRUE(server) << server.error().message();
    std::string host;
    int port = 0;
    ASSERT_TRUE(split_address((*server)->address(), host, port));
    httplib::Client client(host, port);
    const auto large = client.Post("/livez", std::string(1 << 20, 'x'), "text/plain");
    EXPECT_TRUE(!large || large->status >= 400);
    const auto long_header = client.Get("/livez", {{"X", std::string(100'000, 'x')}});
    EXPECT_TRUE(!long_header || long_header->status >= 400);
    // A connection that says nothing takes a thread for a while, not for ever, and
    // the socket's threads are others.
    const int silent = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    inet_pton(AF_INET, host.c_str(), &address.sin_addr);
    ASSERT_EQ(connect(silent, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_TRUE(ask_control_socket(folder_, "/livez"));
    EXPECT_EQ(client.Get("/livez")->status, 200);
    close(silent);
}

TEST(SplitAddress, TakesHostAndPortOnly) {
    std::string host;
    int port = 0;
    EXPECT_TRUE(split_address("127.0.0.1:9090", host, port) && host == "127.0.0.1" && port == 9090);
    EXPECT_TRUE(split_address("[::1]:80", host, port) && host == "::1" && port == 80);
    EXPECT_TRUE(split_address("localhost:0", host, port) && host == "localhost" && port == 0);
    for (const char* bad : {"", ":", ":9090", "9090", "localhost", "h:", "h:x", "h:1x", "h:-1",
                            "h:65536", "::1:80", "[::1]", "[]:1", "[:1"}) {
        EXPECT_FALSE(split_address(bad, host, port)) << bad;
    }
}

}  // namespace
}  // namespace walbrook
