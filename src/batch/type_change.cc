#include "batch/type_change.h"

namespace walbrook {

bool keeps_values(const ColumnType& from, const ColumnType& to) {
    if (from == to) return true;
    if (from.is_list != to.is_list) return false;
    switch (from.kind) {
        case TypeKind::int16:
            return to.kind == TypeKind::int32 || to.kind == TypeKind::int64;
        case TypeKind::int32:
        case TypeKind::uint32:
            return to.kind == TypeKind::int64;
        case TypeKind::decimal:
            return to.kind == TypeKind::decimal && from.scale == to.scale &&
                   from.precision < to.precision;
        default:
            return false;
    }
}

}  // namespace walbrook
