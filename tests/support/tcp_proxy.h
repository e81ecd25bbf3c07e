#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace walbrook::testing {

// Stands between a client and a server on 127.0.0.1 and does to their connections what
// networks do. Its rules are for connections in whose first bytes from the client a text
// occurs: "stream" finds application_name "walbrook:7:stream". An empty text means all.
class TcpProxy {
 public:
    explicit TcpProxy(std::uint16_t server_port);
    ~TcpProxy();
    TcpProxy(const TcpProxy&) = delete;
    TcpProxy& operator=(const TcpProxy&) = delete;

    std::uint16_t port() const { return port_; }

    enum class End { close, reset };
    enum class Way { to_client, to_server };
    // After so many further bytes this way on such connections together the one whose byte it is
    // ends, in the middle of whatever that is. Several cuts of one kind of connection come one
    // after the other.
    void cut(std::string who, std::uint64_t after_bytes, End end = End::close,
             Way way = Way::to_client);
    // The `nth` answer from now on that holds `text` does not arrive; its connection ends instead.
    void lose_answer(std::string text, int nth);
    bool has_lost_answer() const;
    // Cuts that have not come yet.
    std::size_t cuts_left() const;
    // Nothing passes in either direction, and nobody is told, until resume().
    void stall(std::string who);
    void resume();
    // Connections that are open now lose one of their ends, and the other is never told: its
    // connection is half-open. Returns how many they were.
    enum class Side { client, server };
    int half_open(const std::string& who, Side lost);
    // Bytes of one send, both ways; 0: as they come.
    void split(std::size_t packet_bytes);
    // Of what comes from the server. 0: as fast as it comes.
    void slow_down(std::string who, std::uint64_t bytes_per_second);

 private:
    struct Link;
    struct Cut {
        std::string who;
        std::uint64_t bytes_left;
        End end;
        Way way;
    };

    void accept_links();
    void pump_from_client(const std::shared_ptr<Link>& link);
    void pump_from_server(const std::shared_ptr<Link>& link);
    bool wait_readable(const Link& link, int socket) const;
    bool is_stalled(const Link& link) const;
    bool pass(Link& link, Way way, const char* data, std::size_t size);
    // How much of that comes before a cut that is due; all of it if none is. Under mutex_.
    std::size_t before_cut(const Link& link, Way way, std::size_t size);

    const std::uint16_t server_port_;
    std::uint16_t port_ = 0;
    int listener_ = -1;

    mutable std::mutex mutex_;  // Guards what follows, and Link::beginning.
    bool is_stopping_ = false;
    std::vector<std::weak_ptr<Link>> links_;
    std::deque<Cut> cuts_;
    std::string lost_answer_;
    int answers_left_ = 0;  // 0: none is to be lost.
    bool has_stall_ = false;
    std::string stalled_;
    std::size_t packet_bytes_ = 0;
    std::string slow_;
    std::uint64_t bytes_per_second_ = 0;

    std::list<std::thread> pumps_;  // Only of accepting_, until that has ended.
    std::thread accepting_;
};

}  // namespace walbrook::testing
