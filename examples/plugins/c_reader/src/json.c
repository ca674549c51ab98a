#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 128

typedef struct {
    const char *at;
    const char *end;
} Input;

static Json *read_value(Input *in, int depth);

static void skip_space(Input *in) {
    while (in->at < in->end && strchr(" \t\r\n", *in->at) && *in->at) in->at++;
}

static bool take(Input *in, char wanted) {
    if (in->at >= in->end || *in->at != wanted) return false;
    in->at++;
    return true;
}

static Json *made(JsonKind kind) {
    Json *json = allocated(NULL, sizeof *json);
    *json = (Json){.kind = kind};
    return json;
}

void json_free(Json *json) {
    while (json) {
        Json *next = json->next;
        json_free(json->first);
        free(json->key);
        free(json->text);
        free(json);
        json = next;
    }
}

size_t utf8_length(const unsigned char *text, size_t size) {
    if (size == 0) return 0;
    if (text[0] < 0x80) return 1;
    size_t length = text[0] >= 0xF0 ? 4 : text[0] >= 0xE0 ? 3 : 2;
    if (text[0] < 0xC2 || text[0] > 0xF4 || length > size) return 0;
    for (size_t n = 1; n < length; n++)
        if ((text[n] & 0xC0) != 0x80) return 0;
    if (text[0] == 0xE0 && text[1] < 0xA0) return 0; /* written too long */
    if (text[0] == 0xED && text[1] > 0x9F) return 0; /* half a character */
    if (text[0] == 0xF0 && text[1] < 0x90) return 0; /* written too long */
    if (text[0] == 0xF4 && text[1] > 0x8F) return 0; /* beyond Unicode */
    return length;
}

static void add_character(Bytes *bytes, uint32_t code) {
    unsigned char out[4];
    size_t size;
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        size = 1;
    } else if (code < 0x800) {
        out[0] = (unsigned char)(0xC0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3F));
        size = 2;
    } else if (code < 0x10000) {
        out[0] = (unsigned char)(0xE0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (unsigned char)(0x80 | (code & 0x3F));
        size = 3;
    } else {
        out[0] = (unsigned char)(0xF0 | code >> 18);
        out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
        out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[3] = (unsigned char)(0x80 | (code & 0x3F));
        size = 4;
    }
    bytes_add(bytes, out, size);
}

static bool read_hex(Input *in, uint32_t *code) {
    *code = 0;
    for (int n = 0; n < 4; n++, in->at++) {
        if (in->at >= in->end) return false;
        char c = *in->at;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A' + 10);
        else
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

static bool read_escape(Input *in, Bytes *text) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (in->at >= in->end) return false;
    char c = *in->at++;
    const char *found = c ? strchr(names, c) : NULL;
    if (found) {
        bytes_add(text, &values[found - names], 1);
        return true;
    }
    uint32_t code, low;
    if (c != 'u' || !read_hex(in, &code)) return false;
    if (code >= 0xD800 && code < 0xDC00) {
        if (!take(in, '\\') || !take(in, 'u') || !read_hex(in, &low) || low < 0xDC00 || low > 0xDFFF) return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code < 0xE000) {
        return false;
    }
    if (code == 0) return false; /* texts end with 0 here */
    add_character(text, code);
    return true;
}

/* Gives the text whose first quote is taken; NULL where it is none. */
static char *read_text(Input *in) {
    Bytes text = {0};
    while (in->at < in->end) {
        unsigned char c = (unsigned char)*in->at;
        if (c == '"') {
            in->at++;
            bytes_add(&text, "", 1);
            return text.data;
        }
        if (c == '\\') {
            in->at++;
            if (!read_escape(in, &text)) break;
            continue;
        }
        size_t length = utf8_length((const unsigned char *)in->at, (size_t)(in->end - in->at));
        if (c < 0x20 || length == 0) break;
        bytes_add(&text, in->at, length);
        in->at += length;
    }
    bytes_free(&text);
    return NULL;
}

static size_t skip_digits(Input *in) {
    const char *start = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
    return (size_t)(in->at - start);
}

static Json *read_number(Input *in) {
    const char *start = in->at;
    JsonKind kind = JSON_WHOLE;
    take(in, '-');
    const char *digits = in->at;
    size_t count = skip_digits(in);
    if (count == 0 || (count > 1 && *digits == '0')) return NULL;
    if (take(in, '.')) {
        kind = JSON_REAL;
        if (skip_digits(in) == 0) return NULL;
    }
    if (take(in, 'e') || take(in, 'E')) {
        kind = JSON_REAL;
        if (!take(in, '+')) take(in, '-');
        if (skip_digits(in) == 0) return NULL;
    }
    char copy[24];
    size_t size = (size_t)(in->at - start);
    long long whole = 0;
    if (kind == JSON_WHOLE && size < sizeof copy) {
        memcpy(copy, start, size);
        copy[size] = 0;
        errno = 0;
        whole = strtoll(copy, NULL, 10);
    }
    Json *json = made(kind == JSON_WHOLE && (size >= sizeof copy || errno) ? JSON_REAL : kind);
    json->whole = whole;
    return json;
}

/* Reads what is between brackets; the first one is taken. */
static Json *read_members(Input *in, JsonKind kind, int depth) {
    char end = kind == JSON_OBJECT ? '}' : ']';
    Json *json = made(kind), **place = &json->first;
    skip_space(in);
    if (take(in, end)) return json;
    for (;;) {
        char *key = NULL;
        skip_space(in);
        if (kind == JSON_OBJECT) {
            if (!take(in, '"') || !(key = read_text(in))) break;
            skip_space(in);
            if (!take(in, ':')) {
                free(key);
                break;
            }
        }
        Json *value = read_value(in, depth + 1);
        if (!value) {
            free(key);
            break;
        }
        value->key = key;
        *place = value;
        place = &value->next;
        skip_space(in);
        if (take(in, end)) return json;
        if (!take(in, ',')) break;
    }
    json_free(json);
    return NULL;
}

static Json *read_word(Input *in, const char *word, JsonKind kind) {
    size_t size = strlen(word);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, word, size) != 0) return NULL;
    in->at += size;
    return made(kind);
}

static Json *read_value(Input *in, int depth) {
    skip_space(in);
    if (in->at >= in->end || depth > MAX_DEPTH) return NULL;
    switch (*in->at) {
    case '{': in->at++; return read_members(in, JSON_OBJECT, depth);
    case '[': in->at++; return read_members(in, JSON_LIST, depth);
    case 'n': return read_word(in, "null", JSON_NULL);
    case 't': return read_word(in, "true", JSON_TRUE);
    case 'f': return read_word(in, "false", JSON_FALSE);
    case '"': break;
    default: return read_number(in);
    }
    in->at++;
    char *text = read_text(in);
    if (!text) return NULL;
    Json *json = made(JSON_TEXT);
    json->text = text;
    return json;
}

Json *json_read(const char *data, size_t size) {
    Input in = {data, data + size};
    Json *json = read_value(&in, 0);
    skip_space(&in);
    if (json && in.at != in.end) {
        json_free(json);
        return NULL;
    }
    return json;
}

const Json *json_get(const Json *json, const char *key) {
    if (!json || json->kind != JSON_OBJECT) return NULL;
    for (const Json *member = json->first; member; member = member->next)
        if (strcmp(member->key, key) == 0) return member;
    return NULL;
}

const char *json_text(const Json *json, const char *key, const char *otherwise) {
    const Json *found = json_get(json, key);
    return found && found->kind == JSON_TEXT ? found->text : otherwise;
}

long long json_whole(const Json *json, const char *key, long long otherwise) {
    const Json *found = json_get(json, key);
    return found && found->kind == JSON_WHOLE ? found->whole : otherwise;
}

void json_quote(Bytes *bytes, const char *text, size_t size) {
    bytes_add(bytes, "\"", 1);
    for (size_t at = 0; at < size;) {
        unsigned char c = (unsigned char)text[at];
        size_t length = utf8_length((const unsigned char *)text + at, size - at);
        if (length == 0)
            bytes_text(bytes, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            bytes_format(bytes, "\\%c", c);
        else if (c < 0x20)
            bytes_format(bytes, "\\u%04x", c);
        else
            bytes_add(bytes, text + at, length);
        at += length ? length : 1;
    }
    bytes_add(bytes, "\"", 1);
}
