#include "fuzz/fuzz.h"
#include "server/api.h"
#include "server/control_server.h"
#include "telemetry/log.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// Bytes to the control socket of a server that runs, as any local program could send them, and
// bodies to its commands.
namespace walbrook::fuzz {
namespace {

class NoPipeline final : public verify::Cutter {
 public:
    Status hold_for_cut(std::chrono::milliseconds at_most) override {
        EXPECT_LE(at_most, std::chrono::hours(1));
        EXPECT_GE(at_most, std::chrono::milliseconds(0));
        return {};
    }
    Result<Lsn> cut(Lsn at, std::chrono::milliseconds) override { return at; }
    Result<RowRepairs> repair(Lsn at, const std::string&, const std::vector<RowRepair>& tables,
                              std::chrono::milliseconds) override {
        RowRepairs done{at, {}};
        for (const RowRepair& repair : tables) done.refused.emplace_back(repair.table, "why");
        return done;
    }
    Status resync(const std::vector<std::string>&) override { return {}; }
    Status keep_readable(Lsn, std::chrono::milliseconds) override { return {}; }
    Result<std::map<TableId, verify::TableCopies>> copies() override {
        return std::map<TableId, verify::TableCopies>();
    }
};

class Served {
 public:
    Served() {
        folder_ = (std::filesystem::temp_directory_path() / "walbrook-fuzz.XXXXXX").string();
        EXPECT_NE(mkdtemp(folder_.data()), nullptr);
        commands_ = {[](TableCommand, const std::vector<std::string>& tables) {
                         return Result<std::vector<std::string>>(tables);
                     },
                     &pipeline_};
        auto made = ControlServer::create(
            {folder_, "off"}, [] { return StatusReport(); }, Logger(), commands_);
        EXPECT_TRUE(made);
        if (made) server_ = std::move(*made);
    }
    ~Served() {
        server_.reset();
        std::filesystem::remove_all(folder_);
    }
    const ControlCommands& commands() const { return commands_; }

    // The whole answer to `request`, after which no more is sent.
    std::string ask(const std::string& request) const {
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = control_socket_path(folder_);
        EXPECT_LT(path.size(), sizeof address.sun_path);
        path.copy(address.sun_path, path.size());
        EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        // The server may have answered and closed before it was told all.
        static_cast<void>(send(fd, request.data(), request.size(), MSG_NOSIGNAL));
        shutdown(fd, SHUT_WR);
        std::string answer;
        char piece[4096];
        for (ssize_t n = 0; (n = recv(fd, piece, sizeof piece, 0)) > 0;) {
            answer.append(piece, static_cast<std::size_t>(n));
        }
        close(fd);
        return answer;
    }

 private:
    std::string folder_;
    NoPipeline pipeline_;
    ControlCommands commands_;
    std::unique_ptr<ControlServer> server_;
};

const Served& served() {
    static const Served served;
    return served;
}

}  // namespace

void run(std::string_view bytes) {
    constexpr std::string_view kPaths[] = {
        "/api/v1/tables/resync", "/api/v1/tables/pause", "/api/v1/verify/hold",
        "/api/v1/verify/cut",    "/api/v1/verify/keep",  "/api/v1/verify/repair",
    };
    Input input(bytes);
    const std::size_t which = input.choose(std::size(kPaths) + 1);
    if (which < std::size(kPaths)) {
        const ApiAnswer answer = answer_command(kPaths[which], input.rest(), served().commands());
        EXPECT_TRUE(answer.status == 200 || answer.status == 400 || answer.status == 404)
            << answer.status;
        return;
    }
    const std::string answer = served().ask(input.rest());
    EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 ")) << answer;
}

std::size_t memory_factor() { return kBytesOfAny; }

std::vector<std::string> seeds() {
    const std::string raw = choice(6);
    std::vector<std::string> out = {
        raw + "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        raw + "GET /metrics HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n",
        raw + "HEAD /api/v1/status?x=%20 HTTP/1.1\r\nConnection: close\r\nRange: bytes=0-1\r\n\r\n",
        raw +
            "POST /api/v1/tables/resync HTTP/1.1\r\nContent-Length: 17\r\n\r\n{\"tables\": "
            "[\"a\"]}",
        raw +
            "POST /api/v1/tables/pause HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            "11\r\n{\"tables\": [\"a\"]}\r\n0\r\n\r\n",
        raw +
            "POST /api/v1/tables/x HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            "Content-Length: 62\r\n\r\n"
            "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nvalue\r\n--b--\r\n",
        raw + "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    };
    for (std::size_t path = 0; path < 6; ++path) {
        out.push_back(choice(path) + R"({"tables": ["public.t", "s.\"x\""]})");
        out.push_back(choice(path) + R"({"for_ms": 1000, "position": "0/16B3748"})");
    }
    for (const char* keys : {R"([["1"], ["2", "b"]])", "[[1]]", R"(["1"])", "{}"}) {
        out.push_back(choice(5) +
                      R"({"for_ms": 1000, "position": "0/16B3748", "snapshot": "3-1",)" +
                      R"( "tables": [{"oid": 16384, "keys": )" + keys + "}]}");
    }
    return out;
}

}  // namespace walbrook::fuzz
