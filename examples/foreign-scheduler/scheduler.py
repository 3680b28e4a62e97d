#!/usr/bin/env python3
"""A Mesos scheduler that runs tasks on the Marmoset executor, with Python's standard library only.

    scheduler.py MASTER_HOST:PORT EXECUTOR_COMMAND

EXECUTOR_COMMAND is what an agent runs to start the executor, for example
/usr/local/bin/marmoset-executor. Launches one task of each kind that docs/executor-protocol.md
describes, prints every state, and exits with 0 if each ended as it should.
"""

import base64
import getpass
import http.client
import json
import sys
import time

GIVE_UP_AFTER = 120  # seconds
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
TERMINAL = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED",
            "TASK_GONE"}
ROLE = {"allocation_info": {"role": "*"}}


# --- what the executor is asked to do: marmoset.v1.TaskSpec as JSON in TaskInfo.data ---

SPECS = {
    # A shell reads `value`.
    "shell": {"command": {"value": "echo hello from $MARMOSET_TASK_ID"}},
    # An argv as it is, the program's name first; `{#}` and `{}` stand for the item.
    "argv": {"command": {"value": "echo", "shell": False, "arguments": ["echo", "item {#}: {}"],
                         "environment": {"variables": [{"name": "COLOUR", "value": "red"}]}},
             "item": {"index": 7, "line": "two words"}},
    "fails": {"command": {"value": "exit 3"}},
    "killed": {"command": {"value": "sleep 600"}},
    # Ten runs of one command, two at a time. Items 3, 6 and 9 fail; the batch does not.
    "batch": {"batch": {"command": {"value": "echo {#}; exit $((MARMOSET_INDEX % 3 == 0 && MARMOSET_INDEX > 0))"},
                        "job": "batch-item", "width": 2, "ranges": [{"begin": 0, "end": 9}]}},
    # One long item and 99 that wait for it: given back and killed by MESSAGE.
    "steered": {"batch": {"command": {"value": "sleep 600"}, "job": "steered-item",
                          "ranges": [{"begin": 0, "end": 99}]}},
    "misspelt": {"comand": {"value": "true"}},
}

# name -> terminal state, and the beginning of its message
EXPECTED = {
    "shell": ("TASK_FINISHED", "Command exited with status 0"),
    "argv": ("TASK_FINISHED", "Command exited with status 0"),
    "fails": ("TASK_FAILED", "Command exited with status 3"),
    "killed": ("TASK_KILLED", "Command terminated with signal Terminated"),
    "batch": ("TASK_FINISHED", "10 items: 7 finished, 3 failed"),
    "steered": ("TASK_FINISHED", "100 items: 0 finished, 1 killed, 99 returned"),
    "misspelt": ("TASK_ERROR", "`TaskSpec` has neither `command` nor `batch`"),
    "member-1": ("TASK_FINISHED", "Command exited with status 0"),
    "member-2": ("TASK_FINISHED", "Command exited with status 0"),
}


# --- marmoset.v1.Report: the executor answers in protobuf, in TaskStatus.data ---

def fields(data):
    """The (number, value) pairs of a protobuf message: integers and bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:  # 2: there are no other kinds in a Report
            length = varint()
            yield key >> 3, data[at:at + length]
            at += length


STATES = {2: "TASK_FINISHED", 3: "TASK_FAILED", 4: "TASK_KILLED", 7: "TASK_ERROR"}


def report(data):
    """The results and the returned ranges of a Report, as lists of texts."""
    results, returned = [], []
    for number, value in fields(data):
        if number == 2:
            result = dict(fields(value))
            state = STATES[result.get(3, 2)]  # TASK_FINISHED where it is left out
            results.append(f"{result.get(1, 0)}:{state}")
        elif number == 3:
            span = dict(fields(value))
            returned.append(f"{span.get(1, 0)}-{span.get(2, 0)}")
    return results, returned


# --- the scheduler API: one connection for events, one for calls ---

class Scheduler:
    def __init__(self, master):
        framework = {"user": getpass.getuser(), "name": "foreign-scheduler", "roles": ["*"], "failover_timeout": 0.0,
                     "capabilities": [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"},
                                      {"type": "TASK_KILLING_STATE"}]}
        self.events = http.client.HTTPConnection(master, timeout=GIVE_UP_AFTER)
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": framework}}
        self.events.request("POST", "/api/v1/scheduler", json.dumps(body), HEADERS)
        self.stream = self.events.getresponse()
        if self.stream.status != 200:
            sys.exit(f"the master answered {self.stream.status}: {self.stream.read().decode()}")
        self.calls = http.client.HTTPConnection(master, timeout=GIVE_UP_AFTER)
        self.call_headers = dict(HEADERS, **{"Mesos-Stream-Id": self.stream.getheader("Mesos-Stream-Id")})
        self.framework_id = None

    def call(self, kind, **content):
        body = dict(content, type=kind, framework_id=self.framework_id)
        self.calls.request("POST", "/api/v1/scheduler", json.dumps(body), self.call_headers)
        answer = self.calls.getresponse()
        text = answer.read().decode()
        if answer.status != 202:
            sys.exit(f"{kind} was answered {answer.status}: {text}")

    def records(self):
        """The events: each is its length in decimal, a line feed, and that many bytes of JSON."""
        buffer = b""
        while True:
            piece = self.stream.read1(65536)
            if not piece:
                sys.exit("the master ended the stream")
            buffer += piece
            while b"\n" in buffer:
                length, rest = buffer.split(b"\n", 1)
                if len(rest) < int(length):
                    break
                yield json.loads(rest[:int(length)])
                buffer = rest[int(length):]


def scalar(name, value):
    return dict(ROLE, name=name, type="SCALAR", scalar={"value": value})


def executor(framework_id, command, name, disk=False):
    """Identical for all tasks of one executor id on one agent, for ever."""
    resources = [scalar("cpus", 0.1), scalar("mem", 32.0)] + ([scalar("disk", 16.0)] if disk else [])
    return {"type": "CUSTOM", "executor_id": {"value": name}, "framework_id": framework_id,
            "command": {"value": command, "shell": True}, "resources": resources}


def task(name, agent_id, **more):
    return dict(more, name=name, task_id={"value": name}, agent_id=agent_id,
                resources=[scalar("cpus", 0.1), scalar("mem", 16.0)])


def launch(framework_id, offer, command):
    """The operations that launch everything, and the names of the tasks."""
    agent_id = offer["agent_id"]
    marmoset = executor(framework_id, command, "marmoset")
    tasks, members = [], []
    for name, spec in SPECS.items():
        data = base64.b64encode(json.dumps(spec).encode()).decode()
        tasks.append(task(name, agent_id, executor=marmoset, data=data))
    operations = [{"type": "LAUNCH", "launch": {"task_infos": tasks}}]
    # A group carries plain commands. Its executor needs some disk, which not every agent offers.
    if any(resource["name"] == "disk" for resource in offer["resources"]):
        members = [task(name, agent_id, command={"value": line, "shell": True})
                   for name, line in (("member-1", "echo one"), ("member-2", "sleep 1"))]
        group = {"executor": executor(framework_id, command, "marmoset-group", disk=True),
                 "task_group": {"tasks": members}}
        operations.append({"type": "LAUNCH_GROUP", "launch_group": group})
    else:
        print("no disk is offered: the task group is left out", flush=True)
    return operations, {each["name"] for each in tasks + members}


def control(scheduler, agent_id, content):
    """A marmoset.v1.Control: it may get lost, so it is sent until its effect is seen."""
    data = base64.b64encode(json.dumps(content).encode()).decode()
    scheduler.call("MESSAGE", message={"agent_id": agent_id, "executor_id": {"value": "marmoset"}, "data": data})


def main(master, command):
    scheduler = Scheduler(master)
    waiting, ended, agent_id = None, {}, None
    steered, began = "waiting", time.monotonic()
    for event in scheduler.records():
        kind = event["type"]
        if kind == "SUBSCRIBED":
            scheduler.framework_id = event["subscribed"]["framework_id"]
        elif kind == "ERROR":
            sys.exit(event["error"]["message"])
        elif kind == "OFFERS":
            for offer in event["offers"]["offers"]:
                if waiting is None:
                    agent_id = offer["agent_id"]
                    operations, waiting = launch(scheduler.framework_id, offer, command)
                    scheduler.call("ACCEPT", accept={"offer_ids": [offer["id"]], "operations": operations,
                                                     "filters": {"refuse_seconds": 0.0}})
                else:
                    scheduler.call("DECLINE", decline={"offer_ids": [offer["id"]],
                                                       "filters": {"refuse_seconds": 1.0}})
        elif kind == "UPDATE":
            status = event["update"]["status"]
            name, state = status["task_id"]["value"], status["state"]
            results, returned = report(base64.b64decode(status.get("data", "")))
            details = [status.get("message", "")] + results + [f"returned {span}" for span in returned]
            print(name, state, *filter(None, details), flush=True)
            if "uuid" in status:
                scheduler.call("ACKNOWLEDGE", acknowledge={"agent_id": status["agent_id"],
                                                           "task_id": status["task_id"], "uuid": status["uuid"]})
            if state in TERMINAL:
                ended.setdefault(name, (state, status.get("message", "")))
            elif name == "killed" and state == "TASK_RUNNING":
                policy = {"grace_period": {"nanoseconds": 5_000_000_000}}
                scheduler.call("KILL", kill={"task_id": status["task_id"], "agent_id": agent_id,
                                             "kill_policy": policy})
            elif name == "steered" and state == "TASK_RUNNING":
                steered = "returned" if returned or steered == "returned" else "running"
        # Whatever happens, offers and heartbeats included: what has no effect yet is sent again.
        if "steered" not in ended and steered == "running":
            control(scheduler, agent_id, {"take_back": {"task_id": {"value": "steered"}}})
        elif "steered" not in ended and steered == "returned":
            control(scheduler, agent_id, {"kill": {"task_id": {"value": "steered"}}})
        if waiting is not None and set(ended) >= waiting:
            break
        if time.monotonic() - began > GIVE_UP_AFTER:
            print("given up, still waiting for:", *sorted((waiting or set()) - set(ended)), flush=True)
            break
    if scheduler.framework_id is not None:
        scheduler.call("TEARDOWN")
    wrong = 0
    for name in sorted(waiting or EXPECTED):
        state, message = ended.get(name, ("nothing", ""))
        expected, beginning = EXPECTED[name]
        if state != expected or not message.startswith(beginning):
            print(f"{name} should end as {expected} `{beginning}`, not as {state} `{message}`", flush=True)
            wrong += 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
