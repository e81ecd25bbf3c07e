#pragma once

#include "pipeline/catalog_look.h"
#include "pipeline/open_question.h"
#include "pipeline/parts.h"
#include "postgres/connection.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace walbrook {

// Looks at the catalog of the source again and again, and when it is asked: which tables
// are published and how, which version each has, whether its rows changed behind the
// stream's back. Tells the core what is news, and the registry which tables came, went, or
// need a new copy. Its own thread and session, so that neither the stream nor a copy waits
// for a slow catalog.
class CatalogWatch {
 public:
    explicit CatalogWatch(Parts& parts);
    ~CatalogWatch();

    // `first`: the look that the registry's tables came from.
    void start(CatalogLook first);
    void stop();

    // Answers by input::Described, from a look that has seen transaction `xid`. Thread-safe.
    void ask(std::uint64_t request, std::uint32_t relation, std::uint32_t xid);
    // The stream's connection is gone: nobody waits for the answer any more, and the next one may
    // be another server's, of which no look of before knows anything. Thread-safe.
    void withdraw();
    // Something has changed: does not wait for the next look's time. Thread-safe.
    void look_soon();
    // Where the log stood at a look that found the publication and began after this call was
    // first made; nothing: there was none yet. For a stream that ended because the
    // publication did not exist. Thread-safe.
    std::optional<Lsn> position_with_publication();
    // Grows when a standby is found to be promoted, or to follow another timeline; also with a
    // new session, before which that may have happened unseen. Thread-safe.
    std::uint64_t turns() const { return turns_; }
    // Grows while the server refuses sessions for longer than it needs to shut down: it waits, for
    // ever, until what the stream has sent is confirmed. Thread-safe.
    std::uint64_t shutdowns() const { return shutdowns_; }
    // Why the catalog cannot be read, what is wrong with the publication, or what the stream waits
    // for; empty: nothing.
    std::string trouble() const;

 private:
    // What the core was told of a table.
    struct Told {
        std::string key;
        std::uint32_t attempt = 0;
        bool was_ready = false;
    };

    void work(const std::stop_token& stop);
    Status connect(const std::stop_token& stop);
    Status look(const std::stop_token& stop);
    Status check_partitions(const std::vector<TableState>& states, CatalogLook& next,
                            const Deadline& deadline);
    TableRegistry::Contents compare_rows(TableId id, CatalogLook::Table& table) const;
    void heed(const TableState& state, CatalogLook::Table& table);
    void add(const CatalogLook::Table& table);
    void retire(const TableState& state);
    bool has_seen(const CatalogQuestion& question) const;
    void watch_shutdown(const Status& look);
    Status watch_timeline(bool in_recovery, const Deadline& deadline);
    bool is_waited_for() const;
    // False: none that the last look has seen.
    bool answer_question();
    void note_unseen();
    void answer(const CatalogQuestion& question);
    // Until a look is due, or a question. False: to stop.
    bool wait(const std::stop_token& stop);
    void set_trouble(std::string text);
    // Two looks with equal keys found the same version and rows of a table.
    static std::string key_of(const CatalogLook::Table& table);

    Parts& parts_;
    std::optional<Connection> connection_;
    CatalogLook look_;  // The last one; the schemas in it are complete.
    std::uint64_t look_seen_ = 0;
    std::map<TableId, Told> told_;
    // Partitions whose rows may not all have come through the stream, and why that was not seen.
    std::map<std::uint32_t, std::string> doubtful_;
    std::set<TableId> retiring_;
    Instant next_look_{};
    std::atomic<std::uint64_t> turns_{0};
    std::atomic<std::uint64_t> shutdowns_{0};
    std::optional<Instant> refused_since_;  // By a server that shuts down or starts.
    bool had_session_ = false;
    bool is_new_session_ = false;          // After a lost one, and not looked with yet.
    std::optional<Connection> walsender_;  // To a standby, which tells its timeline only there.
    std::uint32_t timeline_ = 0;           // At the last look; 0: not asked.

    mutable std::mutex mutex_;  // Guards what follows.
    std::condition_variable_any changed_;
    OpenQuestion question_;
    bool is_asked_to_look_ = false;
    bool is_unseen_told_ = false;    // To the log, of question_.
    std::uint64_t seen_before_ = 0;  // Looks up to this number began before withdraw().
    std::string trouble_;
    std::optional<std::uint64_t> wanted_publication_;  // A look with this number, or later.
    std::optional<Lsn> publication_position_;

    std::stop_source stop_;
    std::jthread thread_;
};

}  // namespace walbrook
