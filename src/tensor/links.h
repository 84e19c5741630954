/* links.h - what carries bytes between the memories of several processes' devices, without the hosts. It adds nothing:
 * sums are made of what came (op/rank.h).
 *
 * Each process opens its end with the same id, which one of them made and the others were told. What is exchanged goes
 * in the order of the device's stream, behind what was launched before. Nothing here waits for a process that is gone:
 * each wait asks go_on() again and again, and ends when that says no. */
#ifndef GR_TENSOR_LINKS_H
#define GR_TENSOR_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include "gram/error.h"

enum { GR_LINKS_ID = 128 };         /* bytes */
enum { GR_DEVICE_MARK = 16 };       /* bytes of what tells a device from every other */

typedef bool gr_go_on_fn(void *arg);
/* Bytes to process `peer`, or from it. Between two processes they arrive in the order in which both list them. */
typedef struct { void *p; size_t bytes, peer; bool sends; } gr_parcel;

typedef struct {
    void (*mark)(void *self, unsigned char mark[GR_DEVICE_MARK]);
    /* Whether it can be opened here: the library is there. */
    gram_status (*find)(void *self, gram_err *err);
    gram_status (*id)(void *self, unsigned char id[GR_LINKS_ID], gram_err *err);
    gram_status (*open)(void *self, const unsigned char id[GR_LINKS_ID], size_t rank, size_t size, gr_go_on_fn *go_on,
                        void *arg, gram_err *err);
    /* All n of them at once; they are under way when it returns. */
    gram_status (*exchange)(void *self, const gr_parcel *parcel, size_t n, gr_go_on_fn *go_on, void *arg,
                            gram_err *err);
    /* All is done that the device was asked for. */
    gram_status (*settle)(void *self, gr_go_on_fn *go_on, void *arg, gram_err *err);
    void (*close)(void *self);                  /* what is under way is given up */
} gr_links_kind;

#endif
