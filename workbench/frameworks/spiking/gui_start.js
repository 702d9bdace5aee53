// The policy forbids attributes that are scripts as well; what they did is done here.
window.addEventListener("load", onload);
document.getElementById("Forum_link").onclick = function() { window.open("https://forum.nengo.ai", "_blank", "noopener"); };
