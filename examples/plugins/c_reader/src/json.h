/* JSON (RFC 8259): read into a tree, and text written as it. */
#ifndef JSON_H
#define JSON_H

#include "bytes.h"

#include <stdbool.h>

typedef enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_WHOLE, JSON_REAL, JSON_TEXT, JSON_LIST, JSON_OBJECT } JsonKind;

typedef struct Json Json;
struct Json {
    JsonKind kind;
    char *key;       /* of a member of an object; it ends with 0 */
    char *text;      /* of a text, UTF-8; it ends with 0 and has no other */
    long long whole; /* of a number that has neither fraction nor exponent */
    Json *first;     /* of a list or an object: what is in it, through `next` */
    Json *next;
};

/* Gives the tree, or NULL where it is no JSON, nested too deep, or has the character U+0000. Free it with json_free. */
Json *json_read(const char *data, size_t size);
void json_free(Json *json);
/* Gives a member; NULL where there is none, or `json` is NULL or no object. */
const Json *json_get(const Json *json, const char *key);
/* Gives a member's text, or `otherwise`. */
const char *json_text(const Json *json, const char *key, const char *otherwise);
/* Gives a member's whole number, or `otherwise`. */
long long json_whole(const Json *json, const char *key, long long otherwise);

/* Writes a text with its quotes; what is no UTF-8 becomes U+FFFD. */
void json_quote(Bytes *bytes, const char *text, size_t size);
/* Gives how many bytes the character at `text` has, 0 where it is no UTF-8. */
size_t utf8_length(const unsigned char *text, size_t size);

#endif
