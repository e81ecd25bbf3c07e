#pragma once

#include "pipeline/parts.h"

#include <thread>
#include <vector>

namespace walbrook {

// Copies queued tables, `max_table_sync_workers` at once, for as long as the pipeline
// runs. Decides by the error policy what becomes of a copy that failed.
class CopyWorkers {
 public:
    explicit CopyWorkers(Parts& parts) : parts_(parts) {}
    ~CopyWorkers() { stop(); }

    void start();
    void stop();

 private:
    void work(const std::stop_token& stop);
    void settle(const TableState& table, Error error, std::uint32_t failures,
                const std::stop_token& stop);

    Parts& parts_;
    std::stop_source stop_;
    std::vector<std::jthread> threads_;
    std::mutex mutex_;  // Guards failures_.
    std::map<TableId, std::uint32_t> failures_;
};

}  // namespace walbrook
