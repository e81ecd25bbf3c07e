#pragma once

#include "server/api.h"
#include "telemetry/log.h"
#include "walbrook/result.h"

#include <chrono>
#include <memory>
#include <string>

namespace walbrook {

struct ControlServerOptions {
    std::string work_dir;  // Exists; the control socket is made in it.
    std::string listen;    // host:port, [address]:port, or "off".
    // Over TCP only. Whoever has no token learns no more than that the process lives and is ready.
    std::string token = {};
    // PEM text or paths, both or neither.
    std::string tls_cert = {};
    std::string tls_key = {};
    std::chrono::milliseconds request_time{10'000};  // To send a request,
    std::chrono::milliseconds answer_time{30'000};   // to take the answer.
};

// Why the address must not be listened on; empty if it may: what others than this machine's
// users can reach asks for a token and is encrypted.
std::string exposure_problem(const ControlServerOptions& options);

// Serves the API on the Unix socket work_dir/control.sock (0600) and, unless off, on a
// TCP address, from a few threads of its own. Connections are bounded in number, and
// requests in size and time.
//
// Holds a lock on work_dir for as long as it lives, so that two processes cannot use
// one folder; a socket that a dead process left is replaced.
class ControlServer {
 public:
    // ErrorCode::conflict when another process uses work_dir, ErrorCode::config when
    // the address cannot, or must not, be listened on.
    static Result<std::unique_ptr<ControlServer>> create(const ControlServerOptions& options,
                                                         const StatusSource& source,
                                                         const Logger& log,
                                                         const ControlCommands& commands = {});
    // Ends the threads and removes the socket.
    ~ControlServer();
    ControlServer(const ControlServer&) = delete;
    ControlServer& operator=(const ControlServer&) = delete;

    // Where TCP listens, with the port that was chosen for port 0; "" if off.
    const std::string& address() const;

 private:
    struct State;
    explicit ControlServer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The path of the socket in that folder.
std::string control_socket_path(const std::string& work_dir);

// "127.0.0.1:9090" in its parts; false unless it is host:port or [address]:port.
bool split_address(const std::string& listen, std::string& host, int& port);

// Asks the process that uses work_dir. ErrorCode::unavailable when nobody answers.
Result<std::string> ask_control_socket(const std::string& work_dir, const std::string& path);
// The same with a POST (answer_command), whose answer may take so long. ErrorCode::config for what
// it does not understand, ErrorCode::aborted for a 409.
Result<std::string> command_control_socket(const std::string& work_dir, const std::string& path,
                                           const std::string& body,
                                           std::chrono::milliseconds patience = {});

}  // namespace walbrook
