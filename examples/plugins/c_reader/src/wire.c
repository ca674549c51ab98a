#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FRAME ((size_t)1 << 20)
#define MAX_MESSAGE ((size_t)64 << 20)

static int connected(const char *folder, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    if (size < 0 || (size_t)size >= sizeof address.sun_path) die("%s/%s is too long for a socket", folder, name);
    int found = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (found < 0 || connect(found, (struct sockaddr *)&address, sizeof address) != 0)
        die("%s: %s", address.sun_path, strerror(errno));
    return found;
}

static void send_all(int to, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(to, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) die("the engine is gone: %s", strerror(errno));
        data += sent;
        size -= (size_t)sent;
    }
}

/* Fills a buffer; false where the engine is gone. */
static bool receive_all(int from, void *buffer, size_t size) {
    char *at = buffer;
    while (size) {
        ssize_t got = recv(from, at, size, MSG_WAITALL);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static void send_frame(int to, const Bytes *message) {
    if (message->size > MAX_FRAME) die("a message of %zu bytes is larger than a frame", message->size);
    uint32_t size = (uint32_t)message->size;
    send_all(to, (char *)&size, sizeof size);
    send_all(to, message->data, message->size);
}

void wire_send(Wire *wire, const Bytes *message) { send_frame(wire->control, message); }

void wire_send_data(Wire *wire, const Bytes *data) { send_all(wire->data, data->data, data->size); }

bool wire_has_message(const Wire *wire) {
    struct pollfd control = {.fd = wire->control, .events = POLLIN};
    return poll(&control, 1, 0) > 0;
}

static Json *receive_frame(Wire *wire) {
    uint32_t size;
    if (!receive_all(wire->control, &size, sizeof size)) return NULL;
    if (size == 0 || size > MAX_FRAME) die("a frame of %u bytes", size);
    char *body = allocated(NULL, size);
    if (!receive_all(wire->control, body, size)) die("the engine is gone within a frame");
    Json *message = json_read(body, size);
    free(body);
    if (!message || message->kind != JSON_OBJECT) die("a frame that is no JSON object");
    return message;
}

Json *wire_receive(Wire *wire) {
    for (;;) {
        Json *message = receive_frame(wire);
        if (!message) return NULL;
        if (strcmp(json_text(message, "type", ""), "part") == 0) {
            const char *text = json_text(message, "text", "");
            if (wire->parts.size + strlen(text) > MAX_MESSAGE) die("a message of too many parts");
            bytes_text(&wire->parts, text);
            json_free(message);
            continue;
        }
        if (!json_get(message, "parts")) return message;
        json_free(message);
        message = json_read(wire->parts.data, wire->parts.size);
        if (!message || message->kind != JSON_OBJECT) die("parts that are no JSON object");
        wire->parts.size = 0;
        return message;
    }
}

Json *wire_open(Wire *wire, const char *name, const char *version) {
    const char *folder = getenv("DATIVO_PLUGIN_IO"), *token = getenv("DATIVO_PLUGIN_TOKEN");
    if (!folder || !token) die("the engine starts this program: see README.md");
    wire->control = connected(folder, "control.sock");
    wire->data = connected(folder, "data.sock");

    Bytes hello = {0};
    bytes_text(&hello, "{\"type\":\"hello\",\"token\":");
    json_quote(&hello, token, strlen(token));
    size_t both = hello.size;
    bytes_text(&hello, "}");
    send_frame(wire->data, &hello);
    hello.size = both;
    bytes_format(&hello, ",\"protocol\":[1],\"sdk\":null,\"language\":\"c\",\"pid\":%ld", (long)getpid());
    bytes_format(&hello, ",\"plugin\":{\"name\":\"%s\",\"version\":\"%s\"}}", name, version);
    send_frame(wire->control, &hello);
    bytes_free(&hello);
    unsetenv("DATIVO_PLUGIN_IO");
    unsetenv("DATIVO_PLUGIN_TOKEN");

    Json *welcome = wire_receive(wire);
    if (!welcome) die("the engine is gone");
    if (strcmp(json_text(welcome, "type", ""), "welcome") != 0)
        die("the engine rejects this plugin: %s", json_text(json_get(welcome, "error"), "message", "it does not say why"));
    return welcome;
}
