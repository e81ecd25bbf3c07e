#include "decode/properties_testing.h"
#include "fuzz/fuzz.h"
#include "fuzz/samples.h"

#include <algorithm>

// COPY in binary and in text: rows encode back to the bytes they came from, and come the same in
// pieces of any size.
namespace walbrook::fuzz {
namespace {

// The table of the unit tests, one of all scalars that have a binary form, and one of no column.
const std::vector<TableSchemaPtr>& tables() {
    static const std::vector<TableSchemaPtr> tables = [] {
        std::vector<ColumnSchema> scalars;
        for (const SampledType& type : types_of_samples(false)) {
            if (decoder_for(type.column, Format::binary) != nullptr) scalars.push_back(type.column);
        }
        const ColumnSchema decimal = column_of(1700, numeric_typmod(12, 2));
        return std::vector<TableSchemaPtr>{
            table_of({column_of(23), column_of(25), decimal, column_of(1007)}),
            table_of(std::move(scalars)),
            table_of({column_of(25), column_of(17), column_of(1009)}),
            table_of({}),
            // A numeric without a size is text, so that its scale is kept.
            table_of({column_of(23), column_of(25), column_of(1700), column_of(1007)}),
        };
    }();
    return tables;
}

struct Fed {
    bool ok = true;
    std::size_t rows = 0;
    std::string encoded;
};

template <class Parser>
Fed feed(Parser parser, const TableSchemaPtr& schema, bool is_text, std::string_view bytes,
         std::size_t piece) {
    RowBatch batch(schema);
    std::string kept;
    Fed fed;
    while (!bytes.empty() && fed.ok) {
        kept += bytes.substr(0, piece);
        bytes.remove_prefix(std::min(piece, bytes.size()));
        const std::vector<char> exact(kept.begin(), kept.end());
        const auto used = parser.consume({exact.data(), exact.size()}, batch);
        fed.ok = static_cast<bool>(used);
        if (used) kept.erase(0, *used);
    }
    fed.rows = batch.rows();
    fed.encoded = is_text ? encode_copy_text(*schema, batch) : encode_copy_binary(*schema, batch);
    return fed;
}

template <class Parser>
void check(const TableSchemaPtr& schema, Format format, const std::string& bytes,
           std::size_t piece) {
    const bool is_text = format == Format::text;
    constexpr CopyLimits kLimits{1'000'000, kNoBytesLimit};
    const std::vector<DecodeValue> decoders = decoders_of(*schema, format);
    const Fed whole = feed(Parser(schema, decoders, kLimits), schema, is_text, bytes,
                           std::max<std::size_t>(1, bytes.size()));
    const Fed pieces = feed(Parser(schema, decoders, kLimits), schema, is_text, bytes, piece);
    EXPECT_EQ(whole.ok, pieces.ok);
    EXPECT_EQ(whole.rows, pieces.rows);
    EXPECT_EQ(to_hex(whole.encoded), to_hex(pieces.encoded));
    if (is_text) {
        const auto& columns = schema->columns;
        const bool has_one = std::all_of(columns.begin(), columns.end(), [](const auto& column) {
            return has_one_text(column.type);
        });
        if (has_one) expect_text_encodes_back(schema, bytes);
    } else {
        expect_binary_encodes_back(schema, bytes);
    }
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    const bool is_text = input.choose(2) == 0;
    const TableSchemaPtr& schema = tables()[input.choose(tables().size())];
    const std::size_t piece = 1 + input.choose(64);
    if (is_text) {
        check<TextCopyParser>(schema, Format::text, input.rest(), piece);
    } else {
        check<BinaryCopyParser>(schema, Format::binary, input.rest(), piece);
    }
}

std::size_t memory_factor() { return kBytesOfNumerics; }

std::vector<std::string> seeds() {
    const std::string rows =
        hex("0004 00000004 00000001 00000001 61 0000000c 0002 0000 0000 0002 0001 1388"
            "     0000001c 00000001 00000000 00000017 00000001 00000001 00000004 00000007 "
            "0004 ffffffff 00000000 ffffffff 0000000c 00000000 00000000 00000017 ");
    std::string scalars = wire(static_cast<std::uint16_t>(tables()[1]->columns.size()));
    for (const SampledType& type : types_of_samples(false)) {
        if (decoder_for(type.column, Format::binary) == nullptr) continue;
        const std::string field = hex(type.samples.front()->binary);
        scalars += wire(static_cast<std::uint32_t>(field.size())) + field;
    }
    const std::string binary = choice(1);
    const std::string text = choice(0);
    return {
        binary + choice(0) + choice(7) + copy_header() + rows + copy_trailer(),
        binary + choice(1) + choice(30) + copy_header() + scalars + copy_trailer(),
        binary + choice(3) + choice(1) + copy_header() + hex("0000 0000 ffff"),
        text + choice(0) + choice(3) +
            "1\ta\t1.50\t{7}\n\\N\t\t\\N\t{}\n3\t\\N\t-2.00\t{1,NULL}\n\\.\n",
        text + choice(4) + choice(9) + "1\ta\t1.50\t{7}\n\\N\t\t\\N\t{}\n",
        text + choice(2) + choice(5) + "a\\tb\\\\N\\n\t\\\\xde0a\t{\"a b\",NULL}\n\\N\t\\N\t\\N\n",
        text + choice(3) + choice(0) + "\n\n",
    };
}

}  // namespace walbrook::fuzz
