#include "arrow.h"

#include <stdlib.h>
#include <string.h>

/* -- Flatbuffers: parents are written before what they refer to, for a reference only points forward. Each field gets 8
 * bytes, so that every number is aligned. */

enum { VTABLE_HEAD = 4, SLOT = 8 };

static void put(Bytes *bytes, size_t at, const void *data, size_t size) { memcpy(bytes->data + at, data, size); }

/* Adds a table of `fields` fields that are all left out, and gives its place. */
static size_t table(Bytes *bytes, uint16_t fields) {
    bytes_pad(bytes, SLOT);
    uint16_t head[2] = {(uint16_t)(VTABLE_HEAD + 2 * fields), (uint16_t)(SLOT + SLOT * fields)};
    size_t vtable = bytes_add(bytes, head, sizeof head);
    bytes_add(bytes, NULL, 2 * (size_t)fields);
    bytes_pad(bytes, SLOT);
    size_t at = bytes_add(bytes, NULL, head[1]);
    int32_t back = (int32_t)(at - vtable);
    put(bytes, at, &back, sizeof back);
    return at;
}

/* Gives the place of a field, which is there from now on. */
static size_t slot(Bytes *bytes, size_t at, uint16_t field) {
    int32_t back;
    memcpy(&back, bytes->data + at, sizeof back);
    uint16_t offset = (uint16_t)(SLOT + SLOT * field);
    put(bytes, at - (size_t)back + VTABLE_HEAD + 2 * (size_t)field, &offset, sizeof offset);
    return at + offset;
}

static void set8(Bytes *bytes, size_t at, uint16_t field, uint8_t value) {
    put(bytes, slot(bytes, at, field), &value, sizeof value);
}

static void set16(Bytes *bytes, size_t at, uint16_t field, int16_t value) {
    put(bytes, slot(bytes, at, field), &value, sizeof value);
}

static void set32(Bytes *bytes, size_t at, uint16_t field, int32_t value) {
    put(bytes, slot(bytes, at, field), &value, sizeof value);
}

static void set64(Bytes *bytes, size_t at, uint16_t field, int64_t value) {
    put(bytes, slot(bytes, at, field), &value, sizeof value);
}

/* Lets the reference at a place lead to what is at `to`. */
static void refer(Bytes *bytes, size_t from, size_t to) {
    uint32_t offset = (uint32_t)(to - from);
    put(bytes, from, &offset, sizeof offset);
}

/* Adds a vector of items that are zero, and gives its place; the items begin 4 bytes behind it, aligned to 8. */
static size_t vector(Bytes *bytes, uint32_t count, size_t item_size) {
    bytes_pad(bytes, SLOT);
    bytes_add(bytes, NULL, 4);
    size_t at = bytes_add(bytes, &count, sizeof count);
    bytes_add(bytes, NULL, count * item_size);
    return at;
}

static size_t text(Bytes *bytes, const char *value) {
    uint32_t size = (uint32_t)strlen(value);
    bytes_pad(bytes, 4);
    size_t at = bytes_add(bytes, &size, sizeof size);
    bytes_add(bytes, value, (size_t)size + 1);
    return at;
}

/* -- Messages */

enum { V5 = 4, SCHEMA = 1, RECORD_BATCH = 3 };                              /* MetadataVersion, MessageHeader */
enum { TYPE_INT = 2, TYPE_FLOATING_POINT = 3, TYPE_UTF8 = 5, TYPE_TIMESTAMP = 10 }; /* Type */
enum { DOUBLE = 2, MICROSECOND = 2 };                                       /* Precision, TimeUnit */

/* Begins a message's metadata; gives the place of the table that its header is, of so many fields. */
static size_t begin(Bytes *metadata, uint8_t kind, int64_t body_size, uint16_t fields) {
    bytes_add(metadata, NULL, SLOT);
    size_t message = table(metadata, 4);
    refer(metadata, 0, message);
    set16(metadata, message, 0, V5);
    set8(metadata, message, 1, kind);
    set64(metadata, message, 3, body_size);
    size_t header = table(metadata, fields);
    refer(metadata, slot(metadata, message, 2), header);
    return header;
}

/* Adds the message's prefix and its metadata; prefix and metadata end at a multiple of 8. */
static void finish(Bytes *out, Bytes *metadata) {
    bytes_pad(metadata, SLOT);
    uint32_t prefix[2] = {0xFFFFFFFF, (uint32_t)metadata->size};
    bytes_add(out, prefix, sizeof prefix);
    bytes_add(out, metadata->data, metadata->size);
    bytes_free(metadata);
}

void arrow_end(Bytes *out) {
    uint32_t end[2] = {0xFFFFFFFF, 0};
    bytes_add(out, end, sizeof end);
}

static void write_type(Bytes *metadata, size_t field, ColumnType type) {
    static const uint8_t kinds[] = {TYPE_INT, TYPE_FLOATING_POINT, TYPE_UTF8, TYPE_TIMESTAMP};
    set8(metadata, field, 2, kinds[type]);
    size_t at = table(metadata, 2);
    refer(metadata, slot(metadata, field, 3), at);
    if (type == INT64) {
        set32(metadata, at, 0, 64);
        set8(metadata, at, 1, 1); /* signed */
    } else if (type == FLOAT64) {
        set16(metadata, at, 0, DOUBLE);
    } else if (type == TIMESTAMP_US_UTC) {
        set16(metadata, at, 0, MICROSECOND);
        size_t zone = slot(metadata, at, 1);
        refer(metadata, zone, text(metadata, "UTC"));
    }
}

void arrow_schema(Bytes *out, const Column *columns, size_t count) {
    Bytes metadata = {0};
    size_t schema = begin(&metadata, SCHEMA, 0, 2);
    size_t place = slot(&metadata, schema, 1);
    size_t fields = vector(&metadata, (uint32_t)count, 4);
    refer(&metadata, place, fields);
    for (size_t n = 0; n < count; n++) {
        size_t field = table(&metadata, 6);
        refer(&metadata, fields + 4 + 4 * n, field);
        set8(&metadata, field, 1, columns[n].nullable);
        place = slot(&metadata, field, 0);
        refer(&metadata, place, text(&metadata, columns[n].name));
        write_type(&metadata, field, columns[n].type);
        place = slot(&metadata, field, 5);
        refer(&metadata, place, vector(&metadata, 0, 4)); /* no children */
    }
    finish(out, &metadata);
}

/* Adds a buffer to the body, padded to 64 bytes, and notes its place and size. */
static void add_buffer(Bytes *body, const Bytes *buffer, int64_t (*place)[2]) {
    (*place)[0] = (int64_t)body->size;
    (*place)[1] = (int64_t)buffer->size;
    bytes_add(body, buffer->data, buffer->size);
    bytes_pad(body, 64);
}

void arrow_batch(Bytes *out, const Column *columns, size_t count) {
    static const Bytes none = {0};
    static const int32_t zero = 0;
    Bytes body = {0}, metadata = {0}, no_texts = {(char *)(uintptr_t)&zero, sizeof zero, 0};
    int64_t(*nodes)[2] = allocated(NULL, count * sizeof *nodes);
    int64_t(*buffers)[2] = allocated(NULL, 3 * count * sizeof *buffers);
    size_t used = 0;
    for (size_t n = 0; n < count; n++) {
        const Column *column = &columns[n];
        nodes[n][0] = column->rows;
        nodes[n][1] = column->nulls;
        add_buffer(&body, column->nulls ? &column->validity : &none, &buffers[used++]);
        if (column->type == UTF8)
            add_buffer(&body, column->offsets.size ? &column->offsets : &no_texts, &buffers[used++]);
        add_buffer(&body, &column->values, &buffers[used++]);
    }
    size_t header = begin(&metadata, RECORD_BATCH, (int64_t)body.size, 3);
    set64(&metadata, header, 0, count ? columns[0].rows : 0);
    size_t place = slot(&metadata, header, 1);
    size_t at = vector(&metadata, (uint32_t)count, sizeof *nodes);
    refer(&metadata, place, at);
    put(&metadata, at + 4, nodes, count * sizeof *nodes);
    place = slot(&metadata, header, 2);
    at = vector(&metadata, (uint32_t)used, sizeof *buffers);
    refer(&metadata, place, at);
    put(&metadata, at + 4, buffers, used * sizeof *buffers);
    finish(out, &metadata);
    bytes_add(out, body.data, body.size);
    bytes_free(&body);
    free(nodes);
    free(buffers);
}

/* -- Columns */

static void add_row(Column *column, const void *value, size_t size, bool is_valid) {
    if (column->type == UTF8 && column->offsets.size == 0) bytes_add(&column->offsets, NULL, sizeof(int32_t));
    bytes_add(&column->values, value, size);
    if (column->type == UTF8) {
        int32_t end = (int32_t)column->values.size;
        bytes_add(&column->offsets, &end, sizeof end);
    }
    if (column->rows % 8 == 0) bytes_add(&column->validity, NULL, 1);
    if (is_valid)
        column->validity.data[column->rows / 8] |= (char)(1 << (column->rows % 8));
    else
        column->nulls++;
    column->rows++;
}

void column_add_null(Column *column) { add_row(column, NULL, column->type == UTF8 ? 0 : 8, false); }

void column_add_whole(Column *column, int64_t value) { add_row(column, &value, sizeof value, true); }

void column_add_real(Column *column, double value) { add_row(column, &value, sizeof value, true); }

void column_add_text(Column *column, const char *value, size_t size) { add_row(column, value, size, true); }

void column_clear(Column *column) {
    column->validity.size = column->offsets.size = column->values.size = 0;
    column->rows = column->nulls = 0;
}

void column_free(Column *column) {
    bytes_free(&column->validity);
    bytes_free(&column->offsets);
    bytes_free(&column->values);
}

size_t column_bytes(const Column *column) {
    return column->validity.size + column->offsets.size + column->values.size + 3 * 64;
}
