// Runs before the first paint, from a file of its own, so that the page needs no inline script.
(function () {
  var wanted = "auto";
  try {
    wanted = localStorage.getItem("tetrad.scheme") || "auto";
  } catch (_) {
    wanted = "auto";
  }
  var dark = wanted === "dark" || (wanted === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
