/* A reader plugin in C: the requests of the engine, one after the other, each with its result. */
#include "arrow.h"
#include "json.h"
#include "readings.h"
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "c_reader"
#define VERSION "1.0.0"
#define SUFFIX ".readings"

enum { ROWS, REJECTED }; /* the flags of a stream on the data socket */
enum { BATCH_ROWS = 65536 };

static const Column REJECTS[] = { /* dativo_plugin_sdk.rejects.REJECTED_SCHEMA */
    {.name = "column", .type = UTF8, .nullable = true},
    {.name = "rule", .type = UTF8, .nullable = false},
    {.name = "reason", .type = UTF8, .nullable = false},
    {.name = "row", .type = UTF8, .nullable = false},
    {.name = "source", .type = UTF8, .nullable = true},
    {.name = "line", .type = INT64, .nullable = true},
};
enum { REJECT_COLUMNS = sizeof REJECTS / sizeof *REJECTS };

typedef struct {
    Wire wire;
    long long request; /* the id of the one under way */
    bool is_cancelled;
    long long most_rows;
    long long most_bytes;
    char *folder;
    long long batch_rows;
    int flags; /* of the stream that is open on the data socket, -1 for none */
    uint64_t batches;
} Reader;

/* -- Answers */

static Bytes begun(const Reader *reader, const char *type) {
    Bytes out = {0};
    bytes_format(&out, "{\"type\":\"%s\",\"id\":%lld", type, reader->request);
    return out;
}

static void send_and_free(Reader *reader, Bytes *message) {
    wire_send(&reader->wire, message);
    bytes_free(message);
}

/* Answers with a value that is JSON. */
static void answer(Reader *reader, const char *value) {
    Bytes out = begun(reader, "result");
    bytes_format(&out, ",\"ok\":true,\"value\":%s}", value);
    send_and_free(reader, &out);
}

static void answer_bytes(Reader *reader, Bytes *value) {
    bytes_add(value, "", 1);
    answer(reader, value->data);
    bytes_free(value);
}

/* Answers with an error: a class of dativo_plugin_sdk.errors, its code, and what is wrong with what. */
static void answer_error(Reader *reader, const char *type, const char *code, const char *message, const char *about) {
    Bytes out = begun(reader, "result"), text = {0};
    bytes_format(&text, message, about);
    bytes_format(&out, ",\"ok\":false,\"error\":{\"type\":\"%s\",\"error_code\":\"%s\",\"retryable\":false,", type, code);
    bytes_text(&out, "\"details\":{},\"message\":");
    json_quote(&out, text.data, text.size);
    bytes_text(&out, "}}");
    bytes_free(&text);
    send_and_free(reader, &out);
}

static void tell_log(Reader *reader, const char *level, const char *message) {
    Bytes out = {0};
    bytes_format(&out, "{\"type\":\"event\",\"event\":\"log\",\"level\":\"%s\",\"logger\":\"" NAME "\",\"message\":", level);
    json_quote(&out, message, strlen(message));
    bytes_text(&out, "}");
    send_and_free(reader, &out);
}

/* -- Files */

/* Gives the path of a stream's file; NULL where the name is none of a file in the folder. */
static char *path_of(const Reader *reader, const char *stream) {
    if (!*stream || *stream == '.' || strchr(stream, '/')) return NULL;
    Bytes path = {0};
    bytes_format(&path, "%s/%s" SUFFIX, reader->folder, stream);
    bytes_add(&path, "", 1);
    return path.data;
}

/* Opens a stream's file, or answers why it cannot be read. */
static FILE *opened(Reader *reader, const Json *params) {
    const char *stream = json_text(json_get(params, "stream"), "name", "");
    char *path = path_of(reader, stream);
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file && (!path || errno == ENOENT))
        answer_error(reader, "DataNotFoundError", "DATA_NOT_FOUND", "there is no stream %s: a file NAME.readings is one", stream);
    else if (!file)
        answer_error(reader, "ResourceError", "RESOURCE_ERROR", "%s cannot be opened", path);
    free(path);
    return file;
}

static int by_name(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Gives the names of the streams in order; their number is -1 where there is no folder. */
static char **stream_names(const Reader *reader, long *count) {
    DIR *folder = opendir(reader->folder);
    char **names = NULL;
    *count = -1;
    if (!folder) return NULL;
    *count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t size = strlen(entry->d_name);
        if (size <= sizeof SUFFIX - 1 || *entry->d_name == '.') continue;
        size -= sizeof SUFFIX - 1;
        if (strcmp(entry->d_name + size, SUFFIX) != 0) continue;
        names = allocated(names, (size_t)(*count + 1) * sizeof *names);
        names[*count] = allocated(NULL, size + 1);
        memcpy(names[*count], entry->d_name, size);
        names[(*count)++][size] = 0;
    }
    closedir(folder);
    if (*count) qsort(names, (size_t)*count, sizeof *names, by_name);
    return names;
}

/* -- Requests */

static void answer_spec(Reader *reader) {
    answer(reader, "{\"kind\":\"reader\",\"level\":\"stream\",\"class\":\"ReadingsReader\",\"version\":\"" VERSION "\","
                   "\"requires_sdk\":null,\"capabilities\":[\"incremental\"],\"methods\":[],"
                   "\"state_version\":1,\"config_version\":1}");
}

static void configure(Reader *reader, const Json *params) {
    const Json *config = json_get(params, "config");
    const char *folder = json_text(json_get(config, "connection"), "path", NULL);
    if (!folder) {
        answer_error(reader, "InvalidConfigError", "INVALID_CONFIG", "source.connection.%s: required key is missing", "path");
        return;
    }
    reader->batch_rows = json_whole(json_get(config, "options"), "batch_rows", BATCH_ROWS);
    if (reader->batch_rows < 1) {
        answer_error(reader, "InvalidConfigError", "INVALID_CONFIG", "source.options.%s: 1 or more is expected", "batch_rows");
        return;
    }
    free(reader->folder);
    reader->folder = allocated(NULL, strlen(folder) + 1);
    strcpy(reader->folder, folder);
    answer(reader, "{}");
}

static void check_step(Reader *reader, const Json *params) {
    long count;
    if (json_whole(params, "step", -1) != 0) {
        answer_error(reader, "PluginExecutionError", "PLUGIN_EXECUTION_ERROR", "there is no such step, only %s", "0");
        return;
    }
    char **names = stream_names(reader, &count);
    if (count < 0) {
        answer_error(reader, "DataNotFoundError", "DATA_NOT_FOUND", "%s is no folder that can be read", reader->folder);
        return;
    }
    Bytes out = {0};
    bytes_format(&out, "{\"success\":true,\"message\":\"found %ld file(s) of readings\",\"details\":{\"files\":%ld}}", count, count);
    answer_bytes(reader, &out);
    while (count) free(names[--count]);
    free(names);
}

static void discover(Reader *reader, const Json *params) {
    const char *pattern = json_text(params, "pattern", "*");
    long count;
    char **names = stream_names(reader, &count);
    if (count < 0) {
        answer_error(reader, "DataNotFoundError", "DATA_NOT_FOUND", "%s is no folder that can be read", reader->folder);
        return;
    }
    Bytes out = {0};
    bytes_text(&out, "{\"objects\":[");
    bool is_first = true;
    for (long n = 0; n < count; n++) {
        if (fnmatch(pattern, names[n], 0) == 0) {
            bytes_text(&out, is_first ? "{\"name\":" : ",{\"name\":");
            is_first = false;
            json_quote(&out, names[n], strlen(names[n]));
            bytes_text(&out, ",\"type\":\"file\",\"columns\":[{\"name\":\"id\",\"type\":\"integer\",\"nullable\":false},"
                             "{\"name\":\"station\",\"type\":\"string\"},{\"name\":\"value\",\"type\":\"number\"},"
                             "{\"name\":\"taken_at\",\"type\":\"timestamp\"}]}");
        }
        free(names[n]);
    }
    free(names);
    bytes_text(&out, "],\"metadata\":null,\"warnings\":[]}");
    answer_bytes(reader, &out);
}

static void answer_schema(Reader *reader, const Json *params) {
    FILE *file = opened(reader, params);
    if (!file) return;
    fclose(file);
    Bytes message = {0}, out = {0};
    arrow_schema(&message, READINGS, READING_COLUMNS);
    bytes_text(&out, "{\"arrow_schema\":\"");
    bytes_base64(&out, message.data, message.size);
    bytes_text(&out, "\"}");
    bytes_free(&message);
    answer_bytes(reader, &out);
}

/* -- Reading */

typedef struct {
    const char *source; /* the name of the file */
    long long line;     /* the number of the line read last */
    long long byte;     /* where the next one begins */
    long long told;     /* the same, as the engine knows it */
    long long first;    /* the line of the first row that waits; 0 where rows and lines do not go in step */
    long long skipped;  /* comments since the last batch */
    Column rows[READING_COLUMNS];
    Column rejects[REJECT_COLUMNS];
} Place;

/* Announces columns' rows on the control socket and sends them on the data socket, in this order. */
static void send_batch(Reader *reader, Place *place, int flags, Column *columns, size_t count) {
    if (columns->rows == 0) return;
    Bytes event = begun(reader, "event"), data = {0};
    bytes_format(&event, ",\"event\":\"batch\",\"rows\":%lld", (long long)columns->rows);
    if (flags == ROWS) {
        bytes_text(&event, ",\"kind\":\"rows\",\"source\":");
        json_quote(&event, place->source, strlen(place->source));
        if (place->first) bytes_format(&event, ",\"first_line\":%lld", place->first);
        bytes_format(&event, ",\"source_bytes\":%lld}", place->byte - place->told);
    } else {
        bytes_text(&event, ",\"kind\":\"rejected\"}");
    }
    send_and_free(reader, &event);

    if (reader->flags != flags) { /* other columns: another stream, which says which batch comes next */
        uint32_t head[2] = {1, (uint32_t)flags};
        if (reader->flags >= 0) arrow_end(&data);
        bytes_add(&data, head, sizeof head);
        bytes_add(&data, &reader->batches, sizeof reader->batches);
        arrow_schema(&data, columns, count);
        reader->flags = flags;
    }
    arrow_batch(&data, columns, count);
    reader->batches++;
    wire_send_data(&reader->wire, &data);
    bytes_free(&data);
    for (size_t n = 0; n < count; n++) column_clear(&columns[n]);
}

/* Sends what waits, and then where to go on from: it holds for all that was sent before. */
static void flush(Reader *reader, Place *place) {
    send_batch(reader, place, ROWS, place->rows, READING_COLUMNS);
    send_batch(reader, place, REJECTED, place->rejects, REJECT_COLUMNS);
    if (place->skipped) {
        Bytes event = begun(reader, "event");
        bytes_format(&event, ",\"event\":\"skipped\",\"rows\":%lld,\"reason\":\"comment\"}", place->skipped);
        send_and_free(reader, &event);
    }
    if (place->byte != place->told) {
        Bytes event = begun(reader, "event");
        bytes_format(&event, ",\"event\":\"state\",\"state\":{\"version\":1,\"line\":%lld,\"byte\":%lld}}", place->line, place->byte);
        send_and_free(reader, &event);
    }
    place->skipped = 0;
    place->told = place->byte;
    place->first = place->line + 1;
}

static void reject(Place *place, const char *line, size_t size, const char *reason, int wrong) {
    Bytes row = {0};
    json_quote(&row, line, size);
    if (wrong < READING_COLUMNS)
        column_add_text(&place->rejects[0], READINGS[wrong].name, strlen(READINGS[wrong].name));
    else
        column_add_null(&place->rejects[0]);
    const char *rule = wrong < READING_COLUMNS ? "type" : "malformed";
    column_add_text(&place->rejects[1], rule, strlen(rule));
    column_add_text(&place->rejects[2], reason, strlen(reason));
    column_add_text(&place->rejects[3], row.data, row.size);
    column_add_text(&place->rejects[4], place->source, strlen(place->source));
    column_add_whole(&place->rejects[5], place->line);
    bytes_free(&row);
}

static void take_line(Place *place, const char *line, size_t size) {
    int wrong;
    place->line++;
    place->byte += (long long)size;
    size--; /* its end */
    if (size && line[size - 1] == '\r') size--;
    if (*line == '#') {
        place->skipped++;
        place->first = 0;
        return;
    }
    const char *reason = add_reading(place->rows, line, size, &wrong);
    if (reason) {
        reject(place, line, size, reason, wrong);
        place->first = 0;
    }
}

static bool is_full(const Reader *reader, const Place *place, long long most_bytes) {
    size_t bytes = 0;
    for (int n = 0; n < READING_COLUMNS; n++) bytes += column_bytes(&place->rows[n]);
    for (int n = 0; n < REJECT_COLUMNS; n++) bytes += column_bytes(&place->rejects[n]);
    long long rows = place->rows[0].rows + place->rejects[1].rows;
    return (long long)bytes >= most_bytes || rows >= reader->batch_rows || rows >= reader->most_rows;
}

/* Says whether the engine wants this request no more. Nothing else may be said while one is under way. */
static bool is_cancelled(Reader *reader) {
    while (!reader->is_cancelled && wire_has_message(&reader->wire)) {
        Json *message = wire_receive(&reader->wire);
        if (!message) die("the engine is gone");
        if (strcmp(json_text(message, "type", ""), "cancel") != 0) die("a message that is no cancel within a request");
        reader->is_cancelled = json_whole(message, "id", -1) == reader->request;
        json_free(message);
    }
    return reader->is_cancelled;
}

static void read_stream(Reader *reader, const Json *params) {
    const Json *stream = json_get(params, "stream"), *state = json_get(params, "state");
    FILE *file = opened(reader, params);
    if (!file) return;
    Place place = {.line = json_whole(state, "line", 0), .byte = json_whole(state, "byte", 0)};
    memcpy(place.rows, READINGS, sizeof READINGS);
    memcpy(place.rejects, REJECTS, sizeof REJECTS);
    place.told = place.byte;
    place.first = place.line + 1;
    Bytes source = {0};
    bytes_format(&source, "%s" SUFFIX, json_text(stream, "name", ""));
    bytes_add(&source, "", 1);
    place.source = source.data;

    long long most_bytes = json_whole(stream, "batch_bytes", 32 << 20);
    if (most_bytes > reader->most_bytes / 2) most_bytes = reader->most_bytes / 2;
    struct stat about;
    if (fstat(fileno(file), &about) != 0 || place.byte < 0 || place.byte > about.st_size)
        answer_error(reader, "DataError", "DATA_ERROR", "%s is shorter than it was: it was not only added to", place.source);
    else {
        if (place.byte) tell_log(reader, "info", "going on where the last run stopped");
        char *line = NULL;
        size_t room = 0;
        ssize_t size;
        fseeko(file, place.byte, SEEK_SET);
        while ((size = getline(&line, &room, file)) > 0 && line[size - 1] == '\n') {
            take_line(&place, line, (size_t)size);
            if (is_full(reader, &place, most_bytes)) {
                flush(reader, &place);
                if (is_cancelled(reader)) break;
            }
        }
        free(line);
        if (reader->is_cancelled)
            answer_error(reader, "PluginExecutionError", "CANCELLED", "%s", "the engine cancelled the request");
        else if (ferror(file))
            answer_error(reader, "ResourceError", "RESOURCE_ERROR", "%s cannot be read", place.source);
        else {
            flush(reader, &place);
            answer(reader, "{}");
        }
    }
    fclose(file);
    bytes_free(&source);
    for (int n = 0; n < READING_COLUMNS; n++) column_free(&place.rows[n]);
    for (int n = 0; n < REJECT_COLUMNS; n++) column_free(&place.rejects[n]);
}

/* Answers one request; false once there are no more. */
static bool answer_request(Reader *reader, const Json *request) {
    const char *method = json_text(request, "method", "");
    const Json *params = json_get(request, "params");
    reader->request = json_whole(request, "id", -1);
    reader->is_cancelled = false;
    if (strcmp(method, "spec") == 0)
        answer_spec(reader);
    else if (strcmp(method, "configure") == 0)
        configure(reader, params);
    else if (strcmp(method, "shutdown") == 0)
        answer(reader, "{}");
    else if (!reader->folder)
        answer_error(reader, "PluginExecutionError", "PLUGIN_EXECUTION_ERROR", "%s is asked before configure", method);
    else if (strcmp(method, "check") == 0)
        answer(reader, "{\"steps\":[\"folder\"]}");
    else if (strcmp(method, "check_step") == 0)
        check_step(reader, params);
    else if (strcmp(method, "discover") == 0)
        discover(reader, params);
    else if (strcmp(method, "schema") == 0)
        answer_schema(reader, params);
    else if (strcmp(method, "read") == 0)
        read_stream(reader, params);
    else
        answer_error(reader, "PluginExecutionError", "PLUGIN_PROTOCOL_ERROR", "there is no method %s", method);
    return strcmp(method, "shutdown") != 0;
}

int main(void) {
    static const union {
        uint32_t whole;
        uint8_t first;
    } one = {1};
    if (one.first != 1) die("this program writes its memory as it is, which must be little-endian");
    Reader reader = {.flags = -1};
    Json *welcome = wire_open(&reader.wire, NAME, VERSION);
    const Json *limits = json_get(welcome, "limits");
    reader.most_rows = json_whole(limits, "rows", 1 << 20);
    reader.most_bytes = json_whole(limits, "body_bytes", 64 << 20);
    json_free(welcome);

    bool is_open = true;
    while (is_open) {
        Json *message = wire_receive(&reader.wire);
        if (!message) break; /* the engine is gone */
        const char *type = json_text(message, "type", "");
        if (strcmp(type, "request") == 0)
            is_open = answer_request(&reader, message);
        else if (strcmp(type, "cancel") != 0) /* of a request that is answered by now: nothing is left to do */
            die("a message of a type that is not known here");
        json_free(message);
    }
    bytes_free(&reader.wire.parts);
    free(reader.folder);
    return 0;
}
