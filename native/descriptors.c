/*
 * What a daemon wants to know and to say of its descriptors, and Node has no words for:
 *
 *   peerUid(fd)          the user at the other end of a connected unix socket, as the system knows it
 *   setCloseOnExec(fd)   no program that is started gets this descriptor
 *
 * Both throw what the system says against it. `scripts/build-native.mjs` builds it; a daemon does without where it is not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

// Of Node-API, version 1, whose binary interface never changes. Its header does not come with every Node.
typedef struct env *Env;
typedef struct value *Value;
typedef struct info *Info;
typedef Value (*Callback)(Env, Info);
int napi_get_cb_info(Env, Info, size_t *count, Value *arguments, Value *self, void **data);
int napi_get_value_int32(Env, Value, int32_t *into);
int napi_create_uint32(Env, uint32_t number, Value *into);
int napi_create_function(Env, const char *name, size_t length, Callback, void *data, Value *into);
int napi_set_named_property(Env, Value object, const char *name, Value);
int napi_throw_error(Env, const char *code, const char *message);

static int descriptor_of(Env env, Info info) {
  size_t count = 1;
  Value argument;
  int32_t fd = -1;
  napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
  napi_get_value_int32(env, argument, &fd);
  return fd; // -1 where it is no number, which the system refuses
}

static Value failed(Env env) {
  napi_throw_error(env, NULL, strerror(errno));
  return NULL;
}

static Value peer_uid(Env env, Info info) {
  int fd = descriptor_of(env, info);
  uid_t uid;
#ifdef __linux__
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return failed(env);
  uid = peer.uid;
#else
  gid_t gid;
  if (getpeereid(fd, &uid, &gid) < 0) return failed(env);
#endif
  Value result = NULL;
  napi_create_uint32(env, uid, &result);
  return result;
}

static Value set_close_on_exec(Env env, Info info) {
  return fcntl(descriptor_of(env, info), F_SETFD, FD_CLOEXEC) < 0 ? failed(env) : NULL;
}

static void add(Env env, Value exports, const char *name, Callback callback) {
  Value function;
  if (napi_create_function(env, name, strlen(name), callback, NULL, &function) == 0)
    napi_set_named_property(env, exports, name, function);
}

/** What Node calls when it loads this file. */
__attribute__((visibility("default"))) Value napi_register_module_v1(Env env, Value exports) {
  add(env, exports, "peerUid", peer_uid);
  add(env, exports, "setCloseOnExec", set_close_on_exec);
  return exports;
}
