"""A headless Chromium through chromedriver's own protocol (W3C WebDriver): nothing but the two programs
of Debian's packages chromium and chromium-driver is needed."""
import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request


def missing():
    """Name of what is not installed, or None."""
    for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)):
        if not any(shutil.which(name) for name in names):
            return names[0]
    return None


class Browser:
    def __init__(self, width=1400, height=900):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        self.session = ""
        binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        options = {"binary": binary, "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                              "--hide-scrollbars", f"--window-size={width},{height}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}}
        for attempt in range(100):
            try:
                value = self.call("POST", "/session", wanted, plain=True)
                break
            except (urllib.error.URLError, ConnectionError):
                if attempt == 99:
                    raise
                time.sleep(0.1)
        self.session = f"/session/{value['sessionId']}"

    def call(self, method, path, body=None, plain=False):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{'' if plain else self.session}{path}", data, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.loads(error.read())["value"]["message"]) from None

    def open(self, address):
        self.call("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """Value of a function's body."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script, seconds=10):
        """Until the script gives something true, which is returned."""
        end = time.time() + seconds
        while not (value := self.run(script)):
            assert time.time() < end, f"waited {seconds} s in vain for: {script}"
            time.sleep(0.05)
        return value

    def move(self, x, y):
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [
            {"type": "pointerMove", "duration": 0, "x": int(x), "y": int(y)}]}]})

    def log(self):
        return [line["message"] for line in self.call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path, full=True):
        if full:
            height = self.run("return Math.min(6000, document.documentElement.scrollHeight)")
            self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
                "width": 1400, "height": max(900, height), "deviceScaleFactor": 1, "mobile": False}})
            time.sleep(0.4)  # charts that come into view are drawn
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))
        if full:
            self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})

    def close(self):
        try:
            if self.session:
                self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)
