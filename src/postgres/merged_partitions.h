#pragma once

#include "postgres/catalog.h"

#include <vector>

namespace walbrook {

// Where publish_via_partition_root is off the server sends the rows of partitions under the
// partitions' own names. They belong into one table all the same: each topmost partitioned table
// of `tables` takes the place of its leaves.
//
// The leaves stay tables of their own (and the partitioned one goes) where one table could not
// hold them: one has a column list, or tells its rows apart by a unique index of its own, which
// may have the same key in two leaves. Leaves whose replica identities contradict each other are
// a problem for people (PublishedTable::problem); one that has none sends inserts only and fits
// every other.
Status merge_partitions(Connection& connection, const Deadline& deadline,
                        std::vector<PublishedTable>& tables);

}  // namespace walbrook
