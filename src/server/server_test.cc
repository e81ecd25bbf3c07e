#include "server/control_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>
#include <openssl/ssl.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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
    status.tables[0].copies = 4;
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
        {"public", "a\"b", "different", "", Lsn{0x200}, 9, true, true, 1'800'000'000},
        {"s", "t", "not compared", "it stands still", Lsn{}, 0, false, false, 1'800'000'000}};
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
    // Over TCP, at a port that is free.
    Result<std::unique_ptr<ControlServer>> serve_tcp(
        const std::function<void(ControlServerOptions&)>& change) const {
        ControlServerOptions options{folder_, "127.0.0.1:0"};
        change(options);
        return ControlServer::create(options, sample, Logger());
    }
    std::string folder_;
};

int port_of(const ControlServer& server) {
    std::string host;
    int port = 0;
    EXPECT_TRUE(split_address(server.address(), host, port));
    return port;
}

// A plain connection, as of somebody who does not hold to the protocol.
class RawClient {
 public:
    // `room`: so many bytes that are not taken fit into its socket; 0: as the kernel likes.
    explicit RawClient(int port, int room = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
        if (room != 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
        EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~RawClient() { close(fd_); }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;
    // False once the server has closed.
    bool say(std::string_view text) const {
        return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) ==
               static_cast<ssize_t>(text.size());
    }
    // Or that the server has closed.
    bool hears_something_in(int ms) const {
        pollfd one{fd_, POLLIN, 0};
        return poll(&one, 1, ms) > 0;
    }
    int fd() const { return fd_; }
    // All that the server says until it closes.
    std::string hear() const {
        std::string all;
        char piece[4096];
        for (ssize_t n = 0; (n = recv(fd_, piece, sizeof piece, 0)) > 0;) {
            all.append(piece, static_cast<std::size_t>(n));
        }
        return all;
    }

 private:
    const int fd_;
};

TEST(StatusReport, SurvivesJson) {
    const StatusReport before = sample();
    const auto after = status_report_from_json(to_json(before));
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_EQ(to_json(*after), to_json(before));
    EXPECT_EQ(after->pipeline.tables[1].phase, TablePhase::errored);
    EXPECT_EQ(after->pipeline.confirmed, Lsn{0x100});
    EXPECT_EQ(after->pipeline.tables[0].copies, 4U);
    EXPECT_EQ(after->verify.tables[0].differing_rows, 9U);
    EXPECT_TRUE(after->verify.tables[0].has_more);
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
    httplib::Client client("127.0.0.1", port_of(**server));
    const auto large = client.Post("/livez", std::string(1 << 20, 'x'), "text/plain");
    EXPECT_TRUE(!large || large->status == 405);  // Its body is not read.
    const auto long_header = client.Get("/livez", {{"X", std::string(100'000, 'x')}});
    EXPECT_TRUE(!long_header || long_header->status >= 400);
    // A connection that says nothing takes a thread for a while, not for ever, and
    // the socket's threads are others.
    const RawClient silent(port_of(**server));
    EXPECT_TRUE(ask_control_socket(folder_, "/livez"));
    EXPECT_EQ(client.Get("/livez")->status, 200);
}

// Each of its lines is short enough.
TEST_F(ControlServerTest, EndsARequestBeyond64KiB) {
    const auto server = serve("127.0.0.1:0");
    ASSERT_TRUE(server);
    for (const int kib : {60, 68}) {
        const RawClient client(port_of(**server));
        std::string request = "GET /livez HTTP/1.1\r\n";
        for (int i = 0; i < kib; ++i) request += "X-Header: " + std::string(1012, 'x') + "\r\n";
        client.say(request + "\r\n");
        EXPECT_EQ(client.hear().ends_with("\r\n\r\nok\n"), kib == 60);
    }
}

// As many as there are threads ask for more than the sockets hold, and take nothing of it.
TEST_F(ControlServerTest, EndsAnAnswerThatNobodyTakes) {
    ControlServerOptions options{folder_, "127.0.0.1:0"};
    options.answer_time = std::chrono::milliseconds(200);
    const auto many_tables = [] {
        StatusReport report = sample();
        report.pipeline.tables.front().name = std::string(1'000, 'x');
        report.pipeline.tables.resize(8'000, report.pipeline.tables.front());
        return report;
    };
    const std::size_t bytes = to_json(many_tables()).size();
    ASSERT_GT(bytes, 6U << 20);  // net.ipv4.tcp_wmem is 4 MiB at most.
    const auto server = ControlServer::create(options, many_tables, Logger());
    ASSERT_TRUE(server);
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<RawClient>(port_of(**server), 4096));
        ASSERT_TRUE(clients.back()->say("GET /api/v1/status HTTP/1.1\r\n\r\n"));
    }
    for (const auto& client : clients) ASSERT_TRUE(client->hears_something_in(60'000));
    httplib::Client other("127.0.0.1", port_of(**server));
    other.set_read_timeout(20);
    const auto answer = other.Get("/livez");
    ASSERT_TRUE(answer) << to_string(answer.error());
    EXPECT_EQ(answer->status, 200);
    // The one whose place that was; the others may still have had time.
    EXPECT_TRUE(std::any_of(clients.begin(), clients.end(),
                            [&](const auto& client) { return client->hear().size() < bytes; }));
}

// They never end.
TEST_F(ControlServerTest, EndsARequestOfManyHeaders) {
    const auto server = serve("127.0.0.1:0");
    ASSERT_TRUE(server);
    const RawClient client(port_of(**server));
    ASSERT_TRUE(client.say("GET /livez HTTP/1.1\r\n"));
    std::size_t sent = 0;
    while (sent < (64 << 20) && client.say("X-Header: " + std::string(1000, 'x') + "\r\n")) {
        sent += 1012;
    }
    EXPECT_LT(sent, 64U << 20);
    httplib::Client other("127.0.0.1", port_of(**server));
    EXPECT_EQ(other.Get("/livez")->status, 200);
}

// Of the threads that are made meanwhile.
class SmallStacks {
 public:
    SmallStacks() {
        pthread_attr_t small;
        EXPECT_EQ(pthread_getattr_default_np(&before_), 0);
        EXPECT_EQ(pthread_attr_init(&small), 0);
        EXPECT_EQ(pthread_attr_setstacksize(&small, kBytes), 0);
        EXPECT_EQ(pthread_setattr_default_np(&small), 0);
        pthread_attr_destroy(&small);
    }
    ~SmallStacks() {
        EXPECT_EQ(pthread_setattr_default_np(&before_), 0);
        pthread_attr_destroy(&before_);
    }
    SmallStacks(const SmallStacks&) = delete;
    SmallStacks& operator=(const SmallStacks&) = delete;

 private:
#ifdef __SANITIZE_THREAD__
    static constexpr std::size_t kBytes = 4 << 20;  // It keeps something of its own there.
#else
    static constexpr std::size_t kBytes = 512 << 10;
#endif
    pthread_attr_t before_{};
};

// The library would repeat the answer for each range, and read the header by a recursion over its
// bytes.
TEST_F(ControlServerTest, IgnoresRanges) {
    const auto server = [this] {
        const SmallStacks stacks;
        return serve("127.0.0.1:0");
    }();
    ASSERT_TRUE(server);
    std::string many = "bytes=-";
    while (many.size() < 8000) many += ",-";
    httplib::Client client("127.0.0.1", port_of(**server));
    for (const std::string& range : {many, "bytes=" + std::string(8000, '1') + "-",
                                     std::string("bytes=1-2"), std::string("nothing")}) {
        for (const char* name : {"Range", "RANGE", "range"}) {
            const auto answer = client.Get("/metrics", {{name, range}});
            ASSERT_TRUE(answer) << to_string(answer.error());
            EXPECT_EQ(answer->status, 200);
            EXPECT_EQ(answer->body, to_prometheus(sample()));
        }
    }
    // However the bytes come, and behind a line that the library skips.
    const RawClient slow(port_of(**server));
    for (const char c : std::string("GET /livez HTTP/1.1\r\n\nRange: bytes=0-0\r\n\r\n")) {
        ASSERT_TRUE(slow.say({&c, 1}));
    }
    EXPECT_THAT(slow.hear(), testing::EndsWith("\r\n\r\nok\n"));
}

// A byte now and then is within every single time limit.
TEST_F(ControlServerTest, EndsARequestThatTrickles) {
    const auto server = serve_tcp([](auto& o) { o.request_time = std::chrono::milliseconds(200); });
    ASSERT_TRUE(server);
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 8; ++i) {
        clients.push_back(std::make_unique<RawClient>(port_of(**server)));
        ASSERT_TRUE(clients.back()->say("GET /livez HTTP/1.1\r\nX: "));
    }
    for (const auto& client : clients) {
        while (client->say("x") && !client->hears_something_in(20)) {
        }
    }
    httplib::Client other("127.0.0.1", port_of(**server));
    EXPECT_EQ(other.Get("/livez")->status, 200);
}

// Those for whom there is no thread, and no room to wait for one, are sent away at once; a stop
// does not wait for the others.
TEST_F(ControlServerTest, HasOnlySoManyConnections) {
    std::vector<std::unique_ptr<RawClient>> clients;
    {
        const auto server = serve_tcp([](auto& o) { o.request_time = std::chrono::hours(1); });
        ASSERT_TRUE(server);
        for (int i = 0; i < 24; ++i) {
            clients.push_back(std::make_unique<RawClient>(port_of(**server)));
        }
        EXPECT_EQ(clients.back()->hear(), "");
        EXPECT_TRUE(ask_control_socket(folder_, "/livez"));
    }
    EXPECT_EQ(clients.front()->hear(), "");
}

TEST_F(ControlServerTest, AsksForTheTokenButForTheProbes) {
    const std::string token = "0123456789abcdef";
    const auto server = serve_tcp([&](auto& o) { o.token = token; });
    ASSERT_TRUE(server);
    httplib::Client client("127.0.0.1", port_of(**server));
    const httplib::Headers good = {{"Authorization", "Bearer " + token}};
    for (const char* path : {"/metrics", "/api/v1/status", "/nothing"}) {
        for (const std::string& bad : std::vector<std::string>{
                 "", "Bearer ", token, "Bearer " + token + "x", "Bearer 0123456789abcdeX"}) {
            const auto refused = client.Get(path, {{"Authorization", bad}});
            EXPECT_EQ(refused->status, 401);
            EXPECT_EQ(refused->get_header_value("WWW-Authenticate"), "Bearer");
            EXPECT_THAT(refused->body, HasSubstr("Authorization: Bearer"));
            EXPECT_THAT(refused->body, testing::Not(HasSubstr(token)));
        }
    }
    EXPECT_EQ(client.Get("/metrics", good)->body, to_prometheus(sample()));
    EXPECT_EQ(client.Get("/api/v1/status", good)->body, to_json(sample()));
    EXPECT_EQ(client.Get("/nothing", good)->status, 404);
    // The reasons name tables.
    EXPECT_EQ(client.Get("/livez")->body, "ok\n");
    EXPECT_EQ(client.Get("/readyz")->body, "streaming\n");
    EXPECT_EQ(client.Get("/readyz", good)->body, "streaming\nslot is far behind\n");
    // The socket is its owner's, who could read the token anyway.
    EXPECT_TRUE(ask_control_socket(folder_, "/api/v1/status"));
}

class ControlServerTls : public ControlServerTest {
 protected:
    void SetUp() override {
        ControlServerTest::SetUp();
        make_certificate("a");
    }
    void make_certificate(const std::string& name) const {
        const std::string command = fmt::format(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 "
            "-subj /CN=localhost -addext "
            "subjectAltName=IP:127.0.0.1 -keyout {0}/{1}.key -out {0}/{1}.crt 2>/dev/null",
            folder_, name);
        ASSERT_EQ(std::system(command.c_str()), 0);
    }
    std::string text_of(const std::string& name) const {
        std::ifstream in(folder_ + "/" + name);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    auto serve_tls(const std::string& cert, const std::string& key) const {
        return serve_tcp([&](auto& o) {
            o.tls_cert = cert;
            o.tls_key = key;
        });
    }
};

TEST_F(ControlServerTls, SpeaksHttpsAndNothingElse) {
    for (const bool is_text : {false, true}) {
        const auto server = serve_tls(is_text ? text_of("a.crt") : folder_ + "/a.crt",
                                      is_text ? text_of("a.key") : folder_ + "/a.key");
        ASSERT_TRUE(server) << server.error().message();
        httplib::SSLClient client("127.0.0.1", port_of(**server));
        client.set_ca_cert_path((folder_ + "/a.crt").c_str());
        client.enable_server_certificate_verification(true);
        const auto answer = client.Get("/metrics");
        ASSERT_TRUE(answer) << to_string(answer.error());
        EXPECT_EQ(answer->body, to_prometheus(sample()));
        httplib::Client plain("127.0.0.1", port_of(**server));
        EXPECT_FALSE(plain.Get("/livez"));
        // The client itself would not offer it otherwise: what is heard must come from the server.
        const auto says = [&](const std::string& version) {
            const std::string heard = folder_ + "/heard";
            std::system(fmt::format("openssl s_client -connect 127.0.0.1:{} -{} "
                                    "-cipher ALL@SECLEVEL=0 </dev/null >{} 2>&1",
                                    port_of(**server), version, heard)
                            .c_str());
            return text_of("heard");
        };
        EXPECT_THAT(says("tls1_1"), ::testing::HasSubstr("alert protocol version"));
        EXPECT_THAT(says("tls1_2"), ::testing::HasSubstr("Protocol  : TLSv1.2"));
    }
}

// Before the request there is the handshake, which is bounded, too.
TEST_F(ControlServerTls, EndsAHandshakeThatDoesNotGoOn) {
    const auto server = serve_tcp([&](auto& o) {
        o.tls_cert = folder_ + "/a.crt";
        o.tls_key = folder_ + "/a.key";
        o.request_time = std::chrono::milliseconds(500);
    });
    ASSERT_TRUE(server);
    const RawClient silent(port_of(**server));
    const RawClient half(port_of(**server));
    ASSERT_TRUE(half.say("\x16\x03\x01"));
    EXPECT_EQ(silent.hear(), "");
    EXPECT_EQ(half.hear(), "");
}

// Half a request, the good-bye and the reset come at once: OpenSSL says 0 of the answer's write.
void say_good_bye_and_be_gone(SSL_CTX* context, int port) {
    const RawClient client(port);
    const std::unique_ptr<SSL, decltype(&SSL_free)> tls(SSL_new(context), SSL_free);
    ASSERT_EQ(SSL_set_fd(tls.get(), client.fd()), 1);
    ASSERT_EQ(SSL_connect(tls.get()), 1);
    BIO* const kept = BIO_new(BIO_s_mem());
    SSL_set0_wbio(tls.get(), kept);
    constexpr std::string_view kHalf = "GET / HTTP/1.1\r\n";
    ASSERT_GT(SSL_write(tls.get(), kHalf.data(), static_cast<int>(kHalf.size())), 0);
    SSL_shutdown(tls.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(kept, &bytes);
    const linger reset{1, 0};
    setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    EXPECT_TRUE(client.say({bytes, static_cast<std::size_t>(size)}));
}

TEST_F(ControlServerTls, OutlivesClientsThatSayGoodByeAndAreGone) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(
        SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    const auto server = serve_tls(folder_ + "/a.crt", folder_ + "/a.key");
    ASSERT_TRUE(server);
    for (int i = 0; i < 40; ++i) say_good_bye_and_be_gone(context.get(), port_of(**server));
    httplib::SSLClient client("127.0.0.1", port_of(**server));
    client.enable_server_certificate_verification(false);
    client.set_read_timeout(20);
    EXPECT_TRUE(client.Get("/livez"));
}

TEST_F(ControlServerTls, RefusesFilesThatDoNotFit) {
    make_certificate("b");
    const auto refused = [&](const std::string& cert, const std::string& key) {
        const auto server = serve_tls(cert, key);
        EXPECT_FALSE(server);
        if (server) return std::string();
        EXPECT_EQ(server.error().code(), ErrorCode::config);
        return server.error().message();
    };
    const std::string cert = folder_ + "/a.crt";
    const std::string key = folder_ + "/a.key";
    EXPECT_THAT(refused(folder_ + "/none", key), HasSubstr("read server.tls.cert: "));
    EXPECT_THAT(refused(cert, folder_ + "/none"), HasSubstr("read server.tls.key: "));
    EXPECT_THAT(refused(key, key), HasSubstr("server.tls.cert must be a certificate"));
    EXPECT_THAT(refused(cert, cert), HasSubstr("server.tls.key must be the private key"));
    EXPECT_THAT(refused(cert, folder_ + "/b.key"), HasSubstr("must be the private key of"));
}

TEST_F(ControlServerTls, IsNeededWhereOthersCanListenIn) {
    const auto open = [&](const std::string& token, bool has_tls) {
        return serve_tcp([&](auto& o) {
            o.listen = "0.0.0.0:0";
            o.token = token;
            if (!has_tls) return;
            o.tls_cert = folder_ + "/a.crt";
            o.tls_key = folder_ + "/a.key";
        });
    };
    EXPECT_FALSE(open("", false));
    EXPECT_FALSE(open("0123456789abcdef", false));
    EXPECT_FALSE(open("", true));
    EXPECT_TRUE(open("0123456789abcdef", true));
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
