#ifndef PAIL_CFUSE_SHIMS_H
#define PAIL_CFUSE_SHIMS_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

// `statvfs` is a function and a struct in C; Swift sees only the function under that name.
typedef struct statvfs pail_statvfs;

#endif
