/* The two sockets that join this process to the engine, and the frames on the control socket.
 *
 * docs/plugin-protocol.md says what is said there. */
#ifndef WIRE_H
#define WIRE_H

#include "bytes.h"
#include "json.h"

#include <stdbool.h>

typedef struct {
    int control;
    int data;
    Bytes parts; /* of a request that is larger than a frame */
} Wire;

/* Connects both sockets and says hello on each, then waits for the welcome and gives it. */
Json *wire_open(Wire *wire, const char *name, const char *version);
/* Waits for the next message; NULL where the engine is gone. */
Json *wire_receive(Wire *wire);
/* Says whether a message waits. */
bool wire_has_message(const Wire *wire);
/* Sends a frame. */
void wire_send(Wire *wire, const Bytes *message);
/* Sends Arrow. */
void wire_send_data(Wire *wire, const Bytes *data);

#endif
